"""`fst optimize` as a script."""

from fst.cli.optimize import main

if __name__ == "__main__":
    main()
