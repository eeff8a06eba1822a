"""Style files, and the shipped styles by name.

What reads or writes weights loads torch, and is imported when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from fst.styles.cards import SUFFIX, find_style, read_card, shipped_styles

if TYPE_CHECKING:
    from fst.styles.release import load_style, replace_card, save_style

__all__ = [
    "SUFFIX",
    "find_style",
    "load_style",
    "read_card",
    "replace_card",
    "save_style",
    "shipped_styles",
]


def __getattr__(name: str) -> Any:
    if name not in ("load_style", "replace_card", "save_style"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fst.styles import release

    return getattr(release, name)
