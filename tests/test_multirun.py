"""``scripts/train.py --multirun``: one run a setting, and one contact sheet of them all."""

from conftest import run_script
from PIL import Image
from test_end_to_end import arguments


def test_a_grid_of_weights_and_sizes_makes_one_sheet(photo_folder, painting, tmp_path):
    outputs = tmp_path / "outputs"
    grid = ["style.weight=5,20", "style.size=64,96", "trainer.max_steps=2"]
    grid.append("trainer.val_check_interval=2")
    args = arguments(photo_folder, painting, outputs, *grid)
    result = run_script("train", "--multirun", *args)
    assert result.returncode == 0, result.stderr
    runs = sorted((outputs / "mine").iterdir())
    assert [run.name.rsplit("_", 1)[1] for run in runs] == ["0", "1", "2", "3"]
    assert all((run / "mine.safetensors").is_file() for run in runs)
    (multirun,) = (outputs / "multirun").iterdir()
    assert f"contact sheet of 4 runs: {multirun}/sheet.jpg" in result.stderr
    with Image.open(multirun / "sheet.jpg") as sheet:
        assert 0.8 < sheet.width / sheet.height < 2  # two blocks across, two down
