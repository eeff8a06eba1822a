"""`fst stylize` as a script."""

import sys

from fst.cli.main import main

if __name__ == "__main__":
    main(["stylize", *sys.argv[1:]])
