from PIL import Image

from tests.conftest import ROOT, run_inline


def test_the_sheet_is_drawn_as_it_is_in_the_documents(tmp_path):
    path = tmp_path / "controls.jpg"
    result = run_inline("controls_sheet", "-o", path)
    assert (result.returncode, result.stdout) == (0, f"{path}\n"), result.stderr
    with Image.open(path) as drawn, Image.open(ROOT / "docs/controls.jpg") as kept:
        assert drawn.size == kept.size
    for sheet in path, ROOT / "docs/controls.jpg":
        assert sheet.stat().st_size < 400_000
