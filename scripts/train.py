"""`fst train` as a script."""

from fst.cli.train import main

if __name__ == "__main__":
    main()
