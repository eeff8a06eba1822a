"""The bundled photos are scikit-image's, whose licences examples/README.md states."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.conftest import ROOT

PHOTOS = sorted((ROOT / "examples").glob("*.jpg"))


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_a_bundled_photo_is_the_public_domain_one(path):
    original = getattr(data, path.stem)()
    with Image.open(path) as photo:
        assert np.abs(np.asarray(photo).astype(float) - original).mean() < 3
    assert f"| {path.name} |" in (ROOT / "examples" / "README.md").read_text()
