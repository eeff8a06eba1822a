"""`fst check-photos` as a script."""

from fst.cli.check_photos import main

if __name__ == "__main__":
    main()
