"""`fst evaluate` as a script."""

from fst.cli.evaluate import main

if __name__ == "__main__":
    main()
