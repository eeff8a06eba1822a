"""`fst train` as a script."""

import sys

from fst.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
