"""What may run at once and what must wait, shown with steps that wait for each other."""

import errno
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import fst.serving.pipeline
from fst.images import Animation, Photo
from fst.serving.folders import Job
from fst.serving.pipeline import Pipeline
from fst.system.errors import InputError

PATIENCE = 20  # seconds until a test that waits in vain fails


def make_jobs(number: int) -> list[Job]:
    names = [Path(f"{k:02d}.png") for k in range(number)]
    return [Job("in" / name, "out" / name, name) for name in names]


def number_of(path_or_photo: Path | Photo) -> int:
    if isinstance(path_or_photo, Path):
        return int(path_or_photo.stem)
    return int(path_or_photo.pixels[0, 0, 0])


class Steps:
    """Reads, paints and writes pictures that hold their job's number; counts what is under way.

    ``during`` is called in each step with its name (read, paint, write) and the job's number.
    """

    def __init__(self, during=lambda step, number: None) -> None:
        self.during, self.lock = during, threading.Lock()
        self.begun, self.ended = Counter(), Counter()
        self.written, self.highest = [], Counter()

    def step(self, name: str, number: int) -> None:
        with self.lock:
            self.begun[name] += 1
            held = self.begun["read"] - self.ended["write"]
            self.highest["held"] = max(self.highest["held"], held)
        self.during(name, number)
        with self.lock:
            self.ended[name] += 1

    def read(self, job: Job) -> tuple[Photo, dict]:
        self.step("read", number_of(job.source))
        return Photo(np.full((8, 8, 3), number_of(job.source), np.uint8)), {}

    def paint(self, photo: Photo) -> Photo:
        self.step("paint", number_of(photo))
        return photo

    def write(self, photo: Photo, path: Path) -> None:
        assert number_of(photo) == number_of(path)
        self.step("write", number_of(path))
        self.written.append(number_of(path))


def run(steps: Steps, number: int, painters: int = 1, workers: int = 2) -> Pipeline:
    before = set(threading.enumerate())
    pipeline = Pipeline(
        make_jobs(number), [steps.paint] * painters, steps.read, steps.write, workers
    )
    try:
        with pipeline:
            for _ in pipeline:
                pass
    finally:
        # whatever happened; threads of other tests may end meanwhile
        assert not set(threading.enumerate()) - before
    return pipeline


def wait_until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.mark.parametrize(("painters", "workers"), [(1, 1), (1, 3), (3, 2)])
def test_every_photo_is_written_once(painters, workers):
    steps = Steps()
    pipeline = run(steps, 40, painters, workers)
    assert sorted(steps.written) == list(range(40))
    assert (pipeline.written, pipeline.total, pipeline.errors) == (40, 40, [])


def test_decoding_network_and_encoding_overlap():
    together = threading.Barrier(3, timeout=PATIENCE)

    def during(step, number):
        if (step, number) in {("write", 0), ("paint", 1), ("read", 2)}:
            together.wait()  # breaks, and raises, unless all three are under way at once

    assert run(Steps(during), 4).written == 4


def test_painters_share_the_photos_and_work_at_once():
    together = threading.Barrier(2, timeout=PATIENCE)
    painters = set()

    def during(step, number):
        if step == "paint":
            painters.add(threading.current_thread())
            if number < 2:
                together.wait()

    assert run(Steps(during), 12, painters=2).written == 12
    assert len(painters) == 2


@pytest.mark.parametrize(("painters", "workers"), [(1, 1), (1, 3), (2, 2)])
def test_decoding_keeps_a_little_ahead(painters, workers):
    bound = painters + 2 * workers

    def during(step, number):
        if step == "paint" and number < painters:
            wait_until(lambda: steps.begun["read"] == painters + bound)
            time.sleep(0.05)  # for one too many to show
            assert steps.begun["read"] == painters + bound
            all_saw.wait()

    all_saw = threading.Barrier(painters, timeout=PATIENCE)
    steps = Steps(during)
    assert run(steps, 30, painters, workers).written == 30


def test_slow_encoding_holds_up_decoding():
    def during(step, number):
        if step == "write" and number < 2:  # both workers
            both.wait()
            time.sleep(0.05)  # for what goes on all the same to show
            counts.append(steps.begun["read"])
            both.wait()

    both, counts, steps = threading.Barrier(2, timeout=PATIENCE), [], Steps(during)
    run(steps, 40, workers=2)
    assert max(counts) <= 16


@pytest.mark.parametrize(("limit", "held"), [(2.5, 2), (0.5, 1)])
def test_large_pictures_wait_for_memory_but_one_passes(limit, held, monkeypatch):
    monkeypatch.setattr(fst.serving.pipeline, "HELD_BYTES", limit * 8 * 8 * 3)
    steps = Steps(lambda step, number: time.sleep(0.001))
    assert run(steps, 20, workers=4).written == 20
    # one more, since the test takes note of the end of a writing after the pipeline may
    assert held <= steps.highest["held"] <= held + 1


@pytest.mark.parametrize("where", ["read", "paint", "write"])
def test_a_photo_that_fails_does_not_stop_the_others(where):
    def during(step, number):
        if step == where and number == 3:
            raise InputError("picture: expected better")
        if step == where and number == 5:
            raise MemoryError

    steps = Steps(during)
    pipeline = run(steps, 12)
    assert sorted(steps.written) == sorted(set(range(12)) - {3, 5})
    first, second = sorted(pipeline.errors)
    assert first == f"{Path('in/03.png')}: expected better"
    assert second.startswith(f"{Path('in/05.png')}: does not fit into the memory; try --max-side")
    assert (pipeline.written, pipeline.hopeless) == (10, False)


@pytest.mark.parametrize("where", ["read", "paint", "write"])
def test_a_bug_is_raised_and_ends_the_threads(where):
    def during(step, number):
        if (step, number) == (where, 3):
            raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug") as caught:
        run(Steps(during), 50)
    assert caught.traceback[-1].name == "during"


def test_a_full_disk_ends_the_run():
    def during(step, number):
        if step == "write" and number >= 5:
            raise InputError(f"out/{number}: cannot be written") from OSError(errno.ENOSPC, "full")

    steps = Steps(during)
    pipeline = run(steps, 1000)
    assert pipeline.hopeless
    assert pipeline.written == 5
    assert 1 <= len(pipeline.errors) < 100
    assert "in/05.png: out/5: cannot be written" in pipeline.errors[0]


def test_frames_of_an_animation_are_painted_one_at_a_time_while_it_is_encoded():
    busy = threading.Lock()

    def during(step, number):
        if step == "paint":
            assert busy.acquire(blocking=False), "two calls at once"
            time.sleep(0.001)
            busy.release()

    def read(job):
        photo, controls = steps.read(job)
        if number_of(job.source) % 3:
            return photo, controls
        asked.append(0)
        return Animation(lambda: frames(photo), [10] * 5, 0, photo.size), controls

    def frames(photo):
        for _ in range(5):
            asked[-1] += 1
            yield photo

    def write(picture, path):
        assert isinstance(picture, Animation) is (number_of(path) % 3 == 0)
        for photo in picture if isinstance(picture, Animation) else [picture]:
            assert number_of(photo) == number_of(path)

    asked, steps = [], Steps(during)
    with Pipeline(make_jobs(9), [steps.paint], read, write, 3) as pipeline:
        assert len(list(pipeline)) == 9
    assert (sum(asked), steps.ended["paint"]) == (15, 6 + 15)


def test_an_interruption_does_not_wait_for_the_network(monkeypatch):
    monkeypatch.setattr(fst.serving.pipeline, "GRACE", 0.2)
    release = threading.Event()

    def during(step, number):
        if step == "paint" and number == 2:
            release.wait(PATIENCE)

    steps, start = Steps(during), time.monotonic()
    pipeline = Pipeline(make_jobs(9), [steps.paint], steps.read, steps.write, 2)
    with pytest.raises(KeyboardInterrupt), pipeline:
        for _ in pipeline:
            if pipeline.written == 2:
                raise KeyboardInterrupt
    assert time.monotonic() - start < PATIENCE / 2
    release.set()
    assert pipeline.written == 2
