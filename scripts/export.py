"""`fst export` as a script."""

from fst.cli.export import main

if __name__ == "__main__":
    main()
