"""`fst optimize` as a script."""

import sys

from fst.cli.main import main

if __name__ == "__main__":
    main(["optimize", *sys.argv[1:]])
