"""The training of the compact loss network; README.md says how its shipped file was made."""
