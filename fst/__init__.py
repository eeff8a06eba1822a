"""fst: train a network for a painting once, then repaint any photo in one forward pass.

>>> from fst import Stylizer
>>> stylize = Stylizer("starry_night")                                   # doctest: +SKIP

``import fst`` loads nothing heavy: a name is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fst.system.errors import InputError

if TYPE_CHECKING:
    from fst.images import Photo, read_photo, save_picture
    from fst.stylizer import Stylizer

__version__ = "0.2.0"
__all__ = ["InputError", "Photo", "Stylizer", "__version__", "read_photo", "save_picture"]

_ROOMS = {
    "Photo": "fst.images",
    "Stylizer": "fst.stylizer",
    "read_photo": "fst.images",
    "save_picture": "fst.images",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
