"""``python -m fst`` is the command ``fst``."""

from fst.cli.main import main

if __name__ == "__main__":
    main()
