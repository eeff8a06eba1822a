"""`fst stylize` as a script."""

from fst.cli.stylize import main

if __name__ == "__main__":
    main()
