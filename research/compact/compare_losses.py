"""What the compact loss network costs: paintings trained with it and with VGG-19, side by side.

python -m research.compact.compare_losses PHOTOS
python -m research.compact.compare_losses PHOTOS --styles the_scream --compare time

From the repository's root; the paintings are in paths.paintings (FST_PAINTINGS). All are trained by
experiment=fast and measured with VGG-19's objective on photos held out of all trainings. *steps*:
both networks take the same steps. *time*: VGG-19 takes as many as fit into the time that the
compact network's take; how fast each is on this machine is measured first, without what happens
before the first steps. What is finished is not run again by the same command.
"""

import argparse
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from fst.cli.composing import config_errors, config_folder, find_painting, quoted
from fst.losses.compact import NAME
from fst.styles import find_style, load_style
from fst.styles.cards import shipped_folder
from fst.system.devices import resolve_compile
from fst.system.errors import InputError, check_whole, one_line_errors
from fst.system.files import atomic_path, check_folder, make_folder
from fst.system.process import leave, signals
from fst.system.tables import markdown_table
from scripts.benchmarks.measuring import run_child, say
from scripts.benchmarks.training import WARM

ROOT = Path(__file__).parents[2]
STYLES = ("composition_vii", "great_wave", "starry_night", "the_scream")  # it has not seen them
COUNTED, TURNS = 40, 3  # steps of the measurement of speed; the best turn counts
NETWORKS = ("compact", "vgg19")
COLUMNS = (
    "painting", "loss network", "steps", "seconds", "objective", "style", "content",
    "johnson (range)", "compact over VGG-19",
)  # fmt: skip


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("photos", type=Path, help="a folder of photos to train on")
    add("--styles", nargs="+", default=STYLES, help="(%(default)s)", metavar="STYLE")
    add("--compare", nargs="+", choices=["steps", "time"], default=["steps", "time"], help="(both)")
    add("--weights", type=Path, metavar="FILE", help="of the compact network; default: the shipped")
    add("--steps", type=int, default=500, help="of the compact network (%(default)s)")
    precisions = "auto", "bf16-mixed", "32-true"
    add("--precision", choices=precisions, default="auto", help="of trainings (%(default)s)")
    add("-o", "--output", type=Path, default=Path("outputs/compare_losses"), help="a folder")
    return parser.parse_args()


def begin(args: argparse.Namespace) -> None:
    """Look at what would fail later, and whether what is in the output is of the same settings."""
    check_whole("--steps", args.steps, 1)
    args.output = args.output.expanduser()
    if not args.photos.expanduser().is_dir():
        raise InputError(f"{args.photos}: expected a folder of photos, found none")
    weights = args.weights or shipped_folder() / "loss_networks" / f"{NAME}.safetensors"
    weights = find_style(weights.expanduser())
    with config_errors(), initialize_config_dir(str(config_folder()), version_base="1.3"):
        for style in args.styles:
            find_painting(compose("train", [f"style={style}"]).style)
    check_folder(args.output)
    asked = {
        "photos": str(args.photos), "steps": args.steps, "precision": args.precision,
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }  # fmt: skip
    had = recall(args, "settings")
    if had not in (None, asked):
        raise InputError(
            f"{args.output}: expected the settings that it began with, {had}; found {asked}; try "
            "another --output"
        )
    make_folder(args.output)
    remember(args, "settings", asked)


def recall(args: argparse.Namespace, name: str) -> Any:
    """What `remember` was told, or None."""
    file = args.output / f"{name}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected what this command wrote, found {error}") from error


def remember(args: argparse.Namespace, name: str, what: dict[str, Any]) -> None:
    with atomic_path(args.output / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(what), encoding="utf-8")


def train(args: argparse.Namespace, style: str, network: str, *more: str) -> None:
    settings = [
        f"style={style}", "experiment=fast", f"data.root={quoted(args.photos)}",
        f"trainer.precision={args.precision}",
        f"compile={resolve_compile('auto', args.steps)}",  # of short ones, too
    ]  # fmt: skip
    if network == "compact":
        settings.append("loss/extractor=compact")
        if args.weights:
            settings.append(f"loss.extractor.weights={quoted(args.weights)}")
    run_child(ROOT / "scripts/train.py", *settings, *more, PYTHONPATH=str(ROOT))


def measure_speeds(args: argparse.Namespace) -> dict[str, float]:
    """Images a second by network, in turns: what slows the machine for a while slows both."""
    speeds = dict.fromkeys(NETWORKS, 0.0)
    for network in NETWORKS * TURNS:
        say(f"speed of {network}")
        with tempfile.TemporaryDirectory(prefix="fst-") as place:
            result = Path(place) / "speed.json"
            train(
                args, args.styles[0], network, f"paths.outputs={quoted(Path(place))}",
                f"trainer.max_steps={WARM + COUNTED + 1}", "trainer.val_check_interval=1000000",
                "+callbacks.meter._target_=scripts.benchmarks.training.Meter",
                f"+callbacks.meter.file={quoted(result)}",
            )  # fmt: skip
            speed = json.loads(result.read_text())["images_per_s"]
            speeds[network] = max(speed, speeds[network])
    remember(args, "speeds", speeds)
    return speeds


def train_once(args: argparse.Namespace, style: str, network: str, steps: int) -> Path:
    """The style file of a training, which runs unless it has."""
    kept = args.output / f"{style}-{network}-{steps}.safetensors"
    if not kept.exists():
        say(f"{style} with {network}, {steps} steps")
        runs = args.output / "runs" / kept.stem
        train(args, style, network, f"paths.outputs={quoted(runs)}", f"trainer.max_steps={steps}")
        written = runs.glob(f"**/{style}.safetensors")
        with atomic_path(kept) as temporary:
            shutil.copyfile(max(written, key=lambda path: path.stat().st_mtime), temporary)
    return kept


def evaluate_once(args: argparse.Namespace, file: Path) -> dict[str, Any]:
    """What ``fst evaluate`` says of a style file."""
    if not (args.output / f"{file.stem}.json").exists():
        say(f"{file.stem}: measuring")
        run_child(
            ROOT / "scripts/evaluate.py", f"styles={quoted(file)}",
            f"photos={quoted(args.photos)}", "protocols=[johnson]",
            f"output={quoted(args.output)}", f"traces={quoted(args.output / 'traces')}",
            PYTHONPATH=str(ROOT),
        )  # fmt: skip
    return recall(args, file.stem)


def row(file: Path, figures: dict[str, Any], ratio: float | None) -> list[str]:
    style, network, _ = file.stem.rsplit("-", 2)
    training = load_style(file)[1]["training"]
    worth = figures["equivalents"]["johnson"]
    return [
        style, network, str(training["steps"]), str(training["seconds"]),
        *(f"{figures['loss'][name]:.3f}" for name in ("total", "style", "content")),
        f"{worth['median']:.0f} ({worth['min']:.0f}-{worth['max']:.0f})",
        f"{ratio:.3f}" if ratio else "",
    ]  # fmt: skip


def compare(args: argparse.Namespace) -> list[list[str]]:
    """Three rows for each painting, or two."""
    begin(args)
    others = [args.steps] if "steps" in args.compare else []
    if "time" in args.compare:
        speeds = recall(args, "speeds") or measure_speeds(args)
        others.append(max(1, round(args.steps * speeds["vgg19"] / speeds["compact"])))
    rows = []
    for style in args.styles:
        compact = train_once(args, style, "compact", args.steps)
        ours = evaluate_once(args, compact)
        rows.append(row(compact, ours, None))
        for steps in others:
            file = train_once(args, style, "vgg19", steps)
            theirs = evaluate_once(args, file)
            rows.append(row(file, theirs, ours["loss"]["total"] / theirs["loss"]["total"]))
    return rows


def main() -> None:
    args = parse_args()
    with signals(leave), one_line_errors():
        rows = compare(args)
    print(markdown_table(COLUMNS, rows))


if __name__ == "__main__":
    main()
