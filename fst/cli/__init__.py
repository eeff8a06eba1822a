"""The command ``fst`` and its sub-commands."""
