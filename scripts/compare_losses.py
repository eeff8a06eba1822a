"""What the compact loss network costs: paintings trained with it and with VGG-19, side by side.

python scripts/compare_losses.py PHOTOS
python scripts/compare_losses.py PHOTOS --styles the_scream --compare time trainer.precision=32-true

All are trained by experiment=fast and measured with VGG-19's objective on photos held out of all
trainings. *steps*: both networks take the same steps. *time*: VGG-19 takes as many as fit into the
time that the compact network's take; how fast each is on this machine is measured first, without
what happens before the first steps. Words at the end are settings of scripts/train.py. Ended early,
the same command goes on with the training that it was at.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from benchmarks.measuring import run_child, say
from composing import quoted, resolve_compile

from fst.checkpoint import load_checkpoint
from fst.errors import InputError, one_line_errors
from fst.files import atomic_path, check_folder, make_folder
from fst.signals import leave, signals

SCRIPTS = Path(__file__).parent
STYLES = ("composition_vii", "great_wave", "starry_night", "the_scream")  # it has not seen them
WARM, COUNTED = 10, 30  # steps of the measurement of speed
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
    add("photos", help="a folder of photos to train on")
    add("settings", nargs="*", help="of scripts/train.py, as trainer.max_steps=100")
    add("--styles", nargs="+", default=STYLES, help="(%(default)s)", metavar="STYLE")
    add("--compare", nargs="+", choices=["steps", "time"], default=["steps", "time"], help="(both)")
    add("--weights", type=Path, metavar="FILE", help="of the compact network; default: the shipped")
    add("--steps", type=int, default=500, help="of the compact network (%(default)s)")
    add("-o", "--output", type=Path, default=Path("outputs/compare_losses"), help="a folder")
    return parser.parse_intermixed_args()


def begin(args: argparse.Namespace) -> None:
    """Make the output folder, or look whether what is in it is of the same settings."""
    check_folder(args.output)
    make_folder(args.output)
    asked = {
        "photos": args.photos, "settings": args.settings, "steps": args.steps,
        "weights": str(args.weights),
    }  # fmt: skip
    file = args.output / "settings.json"
    if not file.exists():
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(asked))
    elif (had := json.loads(file.read_text())) != asked:
        raise InputError(
            f"{args.output}: expected the settings that it began with, {had}; found {asked}; try "
            "another --output"
        )


def train(args: argparse.Namespace, style: str, network: str, *more: str) -> None:
    settings = [f"style={style}", "experiment=fast", f"data.root={quoted(Path(args.photos))}"]
    if network == "compact":
        settings.append("loss/extractor=compact")
        if args.weights:
            settings.append(f"loss.extractor.weights={quoted(args.weights)}")
    run_child(SCRIPTS / "train.py", *settings, *args.settings, *more, PYTHONPATH=str(SCRIPTS))


def steps_in_the_same_time(args: argparse.Namespace) -> int:
    """VGG-19's, while the compact network takes ``args.steps``."""
    speeds = []
    for network in NETWORKS:
        say(f"speed of {network}")
        with tempfile.TemporaryDirectory(prefix="fst-") as place:
            found = Path(place) / "found.json"
            train(
                args, args.styles[0], network, f"paths.outputs={place}",
                f"trainer.max_steps={WARM + COUNTED + 1}", "trainer.val_check_interval=1000000",
                f"compile={resolve_compile('auto', args.steps)}",
                "+callbacks.meter._target_=benchmarks.training.Meter",
                f"+callbacks.meter.file={found}",
            )  # fmt: skip
            speeds.append(json.loads(found.read_text())["images_per_s"])
    return max(1, round(args.steps * speeds[1] / speeds[0]))


def trained(args: argparse.Namespace, style: str, network: str, steps: int) -> Path:
    """The release file of a training, which runs unless it has."""
    kept = args.output / f"{style}-{network}-{steps}.safetensors"
    if not kept.exists():
        say(f"{style} with {network}, {steps} steps")
        run = args.output / "runs" / kept.stem
        go_on = run / "checkpoints/last.ckpt"
        more = [f"ckpt_path={quoted(go_on)}"] if go_on.exists() else []
        train(args, style, network, f"paths.run={quoted(run)}", f"trainer.max_steps={steps}", *more)
        with atomic_path(kept) as temporary:
            shutil.copyfile(run / f"{style}.safetensors", temporary)
    return kept


def evaluated(args: argparse.Namespace, file: Path) -> dict[str, dict]:
    """What scripts/evaluate.py says of a release file."""
    found = args.output / f"{file.stem}.json"
    if not found.exists():
        say(f"{file.stem}: measuring")
        run_child(
            SCRIPTS / "evaluate.py", f"checkpoint={quoted(file)}",
            f"photos={quoted(Path(args.photos))}", "protocols=[johnson]",
            f"output={quoted(args.output)}", f"traces={quoted(args.output / 'traces')}",
            PYTHONPATH=str(SCRIPTS),
        )  # fmt: skip
    return json.loads(found.read_text())


def row(file: Path, figures: dict[str, dict], ratio: float | None) -> list[str]:
    style, network, _ = file.stem.rsplit("-", 2)
    training = load_checkpoint(file)[1]["training"]
    worth = figures["equivalents"]["johnson"]
    return [
        style, network, str(training["steps"]), str(training["seconds"]),
        *(f"{figures['loss'][name]:.3f}" for name in ("total", "style", "content")),
        f"{worth['median']:.0f} ({worth['min']:.0f}-{worth['max']:.0f})",
        f"{ratio:.2f}" if ratio else "",
    ]  # fmt: skip


def compare(args: argparse.Namespace) -> list[list[str]]:
    """Three rows for each painting, or two."""
    begin(args)
    others = [args.steps] if "steps" in args.compare else []
    if "time" in args.compare:
        others.append(steps_in_the_same_time(args))
    rows = []
    for style in args.styles:
        compact = trained(args, style, "compact", args.steps)
        ours = evaluated(args, compact)
        rows.append(row(compact, ours, None))
        for steps in others:
            file = trained(args, style, "vgg19", steps)
            theirs = evaluated(args, file)
            rows.append(row(file, theirs, ours["loss"]["total"] / theirs["loss"]["total"]))
    return rows


def main() -> None:
    args = parse_args()
    with signals(leave), one_line_errors():
        rows = [COLUMNS, ["---"] * len(COLUMNS), *compare(args)]
    print("\n".join("| " + " | ".join(cells) + " |" for cells in rows))


if __name__ == "__main__":
    main()
