"""Measure a machine with a CUDA GPU in a few minutes, and write one Markdown report.

make gpu
PYTHONPATH=. python scripts/gpu_report.py --minutes 8 -o outputs/gpu.md
PYTHONPATH=. python scripts/gpu_report.py compile=false

It runs the tests marked `gpu`, the benchmarks of stylizing and training, a training of 2,000 steps
at width 32, and the evaluation of what it trained. Nothing is installed or downloaded: what needs
something that is missing here is skipped with a line that says so. A part that fails or takes too
long is a line in the report, and the others go on; the exit status is then 1.

FST_PHOTOS is a folder of photos to train on (missing: scenes drawn by rule), FST_VGG_WEIGHTS a file
of VGG-19's weights (missing: the compact loss network). Words on the command line are settings of
the training.
"""

import argparse
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from fst.system.errors import InputError, one_line_errors
from fst.system.files import atomic_path, check_folder
from fst.system.process import cores

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
# by the name of their module, where it is another
PACKAGES = {"hydra": "hydra-core", "PIL": "pillow", "pytorch_lightning": "pytorch-lightning"}
PAINTING = ("torch", "numpy", "PIL", "safetensors", "tqdm")
LEARNING = (*PAINTING, "torchvision", "pytorch_lightning", "hydra", "omegaconf", "tensorboard")
DRAWN_PHOTOS = 96
STEPS, WIDTH = 2000, 32
LEAST = 3  # seconds that a part is begun with
FACTS = """
import json, torch
there = torch.cuda.is_available()
gpu = torch.cuda.get_device_properties(0) if there else None
print(json.dumps({"torch": torch.__version__, "CUDA": torch.version.cuda or "none",
    "GPU": f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" if there else "none"}))
"""


@dataclass(frozen=True)
class Part:
    """One thing to measure, in a process of its own.

    Attributes:
        title: Its heading.
        command: What follows ``python``, from the repository's folder.
        needs: Modules that it imports.
        weight: Of its share of the time that is left, against those of the parts that follow.
        markdown: Whether it prints Markdown.
        file: A pattern of a file that an earlier part makes, ``{file}`` in the command.
    """

    title: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    weight: float
    markdown: bool = False
    file: str | None = None


@dataclass(frozen=True)
class Result:
    """A part's section of the report."""

    part: Part
    verdict: str
    output: str = ""

    @property
    def failed(self) -> bool:
        return self.verdict.startswith("FAILED")

    def __str__(self) -> str:
        output = self.output.strip()
        if output and not self.part.markdown:
            output = f"```\n{output}\n```"
        command = f"`python {shlex.join(self.part.command)}`"
        sections = f"## {self.part.title}", command, self.verdict, output
        return "\n\n".join(filter(None, sections)) + "\n"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", help="of the training, as compile=false")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/gpu.md"))
    parser.add_argument("--minutes", type=float, default=8, help="for everything (%(default)s)")
    return parser.parse_args()


def plan(folder: Path, photos: Path, settings: Sequence[str]) -> list[Part]:
    """All parts, in order; what they make goes into ``folder``."""
    benchmark = "scripts/benchmark.py"
    marked = [path for path in ROOT.glob("tests/**/test_*.py") if "mark.gpu" in path.read_text()]
    tests = sorted(path.relative_to(ROOT).as_posix() for path in marked)
    compact = () if has_vgg() else ("loss/extractor=compact",)
    judges = "extractors.vgg19", "extractors.vgg16", "gatys5.extractor"
    judge = () if has_vgg() else tuple(f"loss/extractor@{name}=compact" for name in judges)
    return [
        Part(
            "Tests marked gpu",
            ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *tests),
            (*LEARNING, "pytest"),
            80,
        ),
        Part(
            "Speed of stylizing",
            (benchmark, "stylize", "--device", "cuda", "--engines", "eager", "--repeats", "3",
             "--sizes", "512x512", "1920x1080"),
            PAINTING,
            80,
            markdown=True,
        ),
        Part(
            "Speed of training",
            (benchmark, "train", "--settings", "fast", "--repeats", "1",
             "--photos", str(near(photos))),
            LEARNING,
            100,
            markdown=True,
        ),
        Part(
            f"Training of {STEPS:,} steps at width {WIDTH}",
            ("scripts/train.py", "style=tides", f"network.width={WIDTH}", "init=udnie-w32",
             f"trainer.max_steps={STEPS}", "trainer.val_check_interval=500",
             f"data.workers={min(8, cores())}", setting("data.root", photos),
             setting("paths.outputs", folder), "paths.paintings=paintings", *compact, *settings),
            LEARNING,
            130,
        ),
        Part(
            "Evaluation of that training",
            ("scripts/evaluate.py", 'style="{file}"', setting("photos", photos), "held_out=4",
             setting("large_photos", EXAMPLES), setting("traces", folder / "traces"),
             setting("output", folder / "evaluation"), "paths.paintings=paintings", *judge),
            LEARNING,
            70,
            markdown=True,
            file="tides/*/tides.safetensors",
        ),
    ]  # fmt: skip


def has_vgg() -> bool:
    return Path(os.environ.get("FST_VGG_WEIGHTS", "")).is_file()


def setting(key: str, path: Path) -> str:
    """A path as Hydra takes it, with any characters in it."""
    return f'{key}="{near(path)}"'


def near(path: Path) -> Path:
    """The path from the repository's folder, where it is inside."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def look_around(seconds: float) -> dict[str, str]:
    """GPU, torch and CUDA; ``missing`` is the reason why nothing can be measured."""
    facts = {"GPU": "none", "torch": "not installed", "CUDA": "none"}
    if find_spec("torch") is None:
        return facts | {"missing": "torch is not installed"}
    status, output, errors = run(("-c", FACTS), seconds)
    if status != 0:
        return facts | {"missing": f"torch cannot be asked: {last_line(errors) or status}"}
    facts |= json.loads(output)
    return facts if facts["GPU"] != "none" else facts | {"missing": "no CUDA GPU"}


def run(command: Sequence[str], seconds: float) -> tuple[int | None, str, str]:
    """Exit status of a Python command (None: out of time), its stdout and its stderr.

    It is a session of its own, so that what it started ends with it.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=out, stderr=err, start_new_session=True,
        )  # fmt: skip
        status = None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if status is None:  # or the user's Ctrl-C
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        out.seek(0)
        err.seek(0)
        return status, out.read(), err.read()


def last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def measure(part: Part, seconds: float, missing: str | None, folder: Path) -> Result:
    """Run a part, or say why not."""
    if part.file:
        files = sorted(folder.glob(part.file), key=lambda path: path.stat().st_mtime)
        newest = near(files[-1] if files else folder / part.file)
        words = tuple(word.replace("{file}", str(newest)) for word in part.command)
        part = replace(part, command=words)
        missing = missing or (None if files else "the part before it made no style file")
    absent = [PACKAGES.get(name, name) for name in part.needs if find_spec(name) is None]
    if missing or absent:
        reason = missing or f"{', '.join(absent)} not installed"
        return Result(part, f"Skipped: {reason}.")
    if seconds < LEAST:
        return Result(part, "FAILED: no time was left for it.")
    print(f"{part.title}: at most {seconds:.0f} s ...", file=sys.stderr, flush=True)
    start = time.monotonic()
    status, output, errors = run(part.command, seconds)
    took = time.monotonic() - start
    if status == 0:
        return Result(part, f"Done in {took:.0f} s.", output)
    end = last_line(errors) or last_line(output) or "it said nothing"
    what = f"not done after {took:.0f} s" if status is None else f"exit status {status}"
    return Result(part, f"FAILED: {what}; its last line: {end}", output)


def make_report(
    parts: Sequence[Part], head: str, missing: str | None, deadline: float, output: Path
) -> list[Result]:
    """Measure every part within its share of the time, and write the report after each."""
    results: list[Result] = []
    for number, part in enumerate(parts):
        share = part.weight / sum(later.weight for later in parts[number:])
        seconds = share * (deadline - time.monotonic())
        results.append(measure(part, seconds, missing, output.with_suffix("")))
        print(f"{part.title}: {results[-1].verdict}", file=sys.stderr, flush=True)
        with atomic_path(output) as temporary:
            temporary.write_text("\n".join([head, *map(str, results)]), encoding="utf-8")
    return results


def prepare_photos(folder: Path) -> tuple[Path, str]:
    """The folder to train on, and what is in it."""
    given = os.environ.get("FST_PHOTOS")
    if given and Path(given).is_dir():
        return Path(given).resolve(), "those of FST_PHOTOS"
    from drawing.scenes import make_photos

    from fst.images import find_images, flatten, read_photo

    real = [flatten(read_photo(path)) for path in find_images(EXAMPLES)]
    make_photos(folder / "photos", real, DRAWN_PHOTOS)
    return folder / "photos", f"{DRAWN_PHOTOS}, parts of the bundled ones and scenes drawn by rule"


def main() -> None:
    args = parse_args()
    with one_line_errors():
        if args.minutes <= 0:
            raise InputError(f"minutes: expected a number above 0, found {args.minutes}")
        output = args.output.absolute()
        check_folder(output.parent)
        deadline = time.monotonic() + 60 * args.minutes
        facts = look_around(6 * args.minutes)
        missing, folder = facts.pop("missing", None), output.with_suffix("")
        photos, which = folder / "photos", "not needed"
        if not missing and all(find_spec(name) for name in PAINTING):
            photos, which = prepare_photos(folder)
        facts |= {
            "Python": platform.python_version(),
            "Date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
            "Photos": which,
            "Loss network": "VGG-19 of FST_VGG_WEIGHTS" if has_vgg() else "the compact one",
        }
        lines = [f"- {name}: {value}" for name, value in facts.items()]
        head = "\n".join(["# What this machine's GPU does", "", *lines, ""])
        parts = plan(folder, photos, args.settings)
        results = make_report(parts, head, missing, deadline, output)
    print(args.output)
    sys.exit(any(result.failed for result in results))


if __name__ == "__main__":
    main()
