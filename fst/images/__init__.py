"""Files to pictures and back: the only door."""

from fst.images.animations import Animation
from fst.images.decoding import MAX_PIXELS
from fst.images.files import SUFFIXES, check_output, read_photo, read_picture, save_picture
from fst.images.index import find_images
from fst.images.metadata import Metadata
from fst.images.photo import (
    Photo,
    flatten,
    resize_longer,
    resize_shorter,
    to_array,
    to_image,
    to_tensor,
)
from fst.images.sheets import captioned_sheet, contact_sheet

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Animation",
    "Metadata",
    "Photo",
    "captioned_sheet",
    "check_output",
    "contact_sheet",
    "find_images",
    "flatten",
    "read_photo",
    "read_picture",
    "resize_longer",
    "resize_shorter",
    "save_picture",
    "to_array",
    "to_image",
    "to_tensor",
]
