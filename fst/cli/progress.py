"""What a run of many photos says of itself: progress, and errors at its end."""

import sys
from collections.abc import Callable

from fst.serving.folders import Job
from fst.serving.pipeline import Pipeline

TERMINAL_FORMAT = "{n_fmt}/{total_fmt} |{bar:30}| {rate_noinv_fmt}, {remaining} left"
LOG_FORMAT = "{n_fmt}/{total_fmt}, {rate_noinv_fmt}, {remaining} left\n"


def show(pipeline: Pipeline, describe: Callable[[], str], line_of: Callable[[Job], str]) -> None:
    """Run a pipeline: a line for each written photo to stdout; to stderr who paints, and progress.

    Args:
        pipeline: Not yet entered.
        describe: Who paints; asked once the first photo is written.
        line_of: The line of a written photo.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    bar = tqdm(
        total=pipeline.total,
        disable=pipeline.total == 1,
        mininterval=0.2 if terminal else 10,
        bar_format=TERMINAL_FORMAT if terminal else LOG_FORMAT,
        unit=" images",
    )
    say = tqdm.write if terminal else print  # the former draws the bar again
    said = False
    with bar, pipeline:
        for job, error in pipeline:
            if error is None and not said:  # not earlier: an engine may be chosen at its first run
                said = True
                say(describe(), file=sys.stderr)
            if error is None:
                say(line_of(job), file=sys.stdout)
            bar.update()


def report(pipeline: Pipeline) -> int:
    """List to stderr what went wrong, and give the exit code."""
    failed = len(pipeline.errors)
    for line in pipeline.errors:
        print(f"error: {line}", file=sys.stderr)
    if failed and pipeline.total > 1:
        line = f"error: {failed} of {pipeline.total} photos could not be repainted (see above)"
        left = pipeline.total - failed - pipeline.written
        line += f"; {left} were left out, since they would fail as well" if left else ""
        print(line, file=sys.stderr)
    return 1 if failed else 0
