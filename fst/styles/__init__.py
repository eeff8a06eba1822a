"""Style files, and the shipped styles by name."""

from fst.styles.release import (
    find_style,
    load_style,
    replace_card,
    save_style,
    shipped_styles,
)

__all__ = [
    "find_style",
    "load_style",
    "replace_card",
    "save_style",
    "shipped_styles",
]
