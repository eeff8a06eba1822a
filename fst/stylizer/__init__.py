"""One picture in, the painted picture out."""

from fst.stylizer.stylizer import Stylizer

__all__ = ["Stylizer"]
