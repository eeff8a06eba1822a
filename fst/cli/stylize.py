"""Repaint photos with a trained style.

fst stylize photo.jpg --style starry_night
fst stylize photo.jpg --style starry_night -o out.jpg
fst stylize photos/ more/*.png --style outputs/mine/RUN/mine.safetensors -o painted/
fst stylize photos/ --style starry_night:0.6,great_wave:0.4 --strength 0.8 -o painted/

Without -o a photo becomes <photo>-<style>.<suffix> in the current folder, and a folder becomes the
folder <folder>-<style>. `fst styles` lists the styles.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

# what needs torch is imported later: --help is quick, and Ctrl-C is heard while it loads
from fst.system.errors import InputError, one_line_errors
from fst.system.files import check_folder, remove_leftovers
from fst.system.process import cores, interrupt, leave, signals

if TYPE_CHECKING:
    from fst.serving.folders import Job
    from fst.stylizer import Stylizer

CONTROLS = "strength", "preserve_color", "scale", "max_side"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        "fst stylize", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add("inputs", nargs="+", type=Path, help="photos, or folders of photos")
    add("--style", required=True, help="a shipped style, a style file's path, or a:0.6,b:0.4")
    add("-o", "--output", type=Path, help="a file for one photo, else a folder")
    add("--overwrite", action="store_true", help="repaint what is there already, too")
    add("--json", action="store_true", help="print a line of JSON for each written photo")
    look = options.add_argument_group("the look")
    add = look.add_argument
    add("--strength", type=float, default=1.0, help="0 (the photo) to 1 (the style)")
    add("--preserve-color", action="store_true", help="keep the colours of the photo")
    add("--mask", type=Path, help="repaint where it is white; or a folder of masks named as photos")
    add("--scale", type=float, default=1.0, help="below 1 for bigger strokes, above for finer ones")
    add("--max-side", type=int, help="px of the longer side that no output exceeds")
    add("--quality", type=int, default=95, help="of JPEG and WebP, 1 to 100 (%(default)s)")
    add("--strip-metadata", action="store_true", help="write no EXIF, XMP or GPS position")
    machine = options.add_argument_group("the machine")
    add = machine.add_argument
    add("--device", default="auto", help="auto (every GPU, else the CPU), cpu, cuda, cuda:1, mps")
    engines = ["auto", "eager", "compile", "onnxruntime", "openvino"]
    add("--engine", default="auto", choices=engines)
    add("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"])
    add("--memory", type=int, metavar="MIB", help="for the network; larger photos go in tiles")
    add("--workers", type=int, default=cores(), help="threads that decode and encode (%(default)s)")
    return options


def check_options(args: argparse.Namespace) -> dict[str, Any]:
    """What a Stylizer is told for every photo.

    Raises:
        InputError: A number is out of its range; said here, once, and not for each photo.
    """
    from fst.stylizer.controls import Controls

    for name, value, most in ("quality", args.quality, 100), ("workers", args.workers, 1024):
        if not 1 <= value <= most:
            raise InputError(f"{name}: expected 1 to {most}, found {value}")
    controls = {name: getattr(args, name) for name in CONTROLS}
    Controls(**controls)
    return controls


def label(style: str) -> str:
    """A style as part of a file's name: ``mine``, or of a blend ``mine-0.6-great_wave-0.4``."""
    from fst.stylizer.stylizer import parse_styles

    (first, share), *others = parse_styles(style)
    if not others:
        return Path(first).stem
    return "-".join(f"{Path(name).stem}-{weight:.3g}" for name, weight in [(first, share), *others])


def load(args: argparse.Namespace, photos: int) -> "list[Stylizer]":
    """A `Stylizer` for every device, but for no more than there are photos."""
    import torch

    from fst.stylizer import Stylizer

    gpus = min(torch.cuda.device_count(), photos) if args.device == "auto" else 0
    devices = [f"cuda:{k}" for k in range(gpus)] if gpus > 1 else [args.device]
    memory = {} if args.memory is None else {"memory": args.memory}
    return [
        Stylizer(args.style, device, args.engine, args.precision, **memory) for device in devices
    ]


def missing(jobs: "list[Job]") -> "list[Job]":
    """The jobs whose file is not there yet; the others are said."""
    from fst.serving.folders import without_existing

    left = without_existing(jobs)
    there = len(jobs) - len(left)
    if len(jobs) == there == 1:
        print(f"{jobs[0].target} is there already; --overwrite repaints it", file=sys.stderr)
    elif there:
        print(f"{there} already there; --overwrite repaints them", file=sys.stderr)
    return left


def repaint(args: argparse.Namespace) -> int:
    """The whole run; gives the exit code."""
    from fst.cli.progress import report, show
    from fst.images import save_picture
    from fst.serving.folders import Masks, names_a_file, plan, read_job
    from fst.serving.pipeline import Pipeline

    controls = check_options(args)
    jobs = plan(args.inputs, args.output, label(args.style))
    folders = {job.target.parent for job in jobs}
    check_folder(jobs[0].target.parent)
    remove_leftovers(folders)
    if not args.overwrite and not names_a_file(args.inputs, args.output):
        jobs = missing(jobs)
        if not jobs:
            return 0
    masks = Masks(args.mask) if args.mask else None
    stylizers = load(args, len(jobs))
    pipeline = Pipeline(
        jobs,
        [partial(stylizer, **controls) for stylizer in stylizers],
        partial(read_job, masks=masks),
        partial(save_picture, quality=args.quality, strip_metadata=args.strip_metadata),
        min(args.workers, len(jobs)),
    )
    line_of = partial(json_line, args.style, stylizers) if args.json else target_of
    with signals(interrupt):
        try:
            show(pipeline, partial(describe, stylizers), line_of)
            return report(pipeline)
        except KeyboardInterrupt as stop:
            remove_leftovers(folders)
            done = f"interrupted: {pipeline.written} of {pipeline.total} written"
            again = " without --overwrite" if args.overwrite else ""
            print(f"{done}; the same command{again} goes on", file=sys.stderr)
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(128 + stop.args[0])  # a network in the middle of a picture would hold up exit


def describe(stylizers: "list[Stylizer]") -> str:
    """What repaints the photos: engine, precision and devices."""
    engine, devices = stylizers[0].engine, ", ".join(str(each.device) for each in stylizers)
    return f"{engine.name} {engine.precision} on {devices}"


def target_of(job: "Job") -> str:
    return str(job.target)


def json_line(style: str, stylizers: "list[Stylizer]", job: "Job") -> str:
    """A written photo, for programs."""
    engine = stylizers[0].engine
    said = {
        "source": str(job.source),
        "target": str(job.target),
        "style": style,
        "engine": engine.name,
        "precision": engine.precision,
        "devices": [str(each.device) for each in stylizers],
    }
    return json.dumps(said, ensure_ascii=False)


def main(argv: Sequence[str] | None = None) -> None:
    with signals(leave), one_line_errors():
        args = parser().parse_args(argv)
        sys.exit(repaint(args))
