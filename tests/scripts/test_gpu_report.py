"""``make gpu`` on machines that lack something, and what it does with parts that fail or hang."""

import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, error_line, run_inline, run_script

sys.path.insert(0, str(ROOT / "scripts"))

import gpu_report
from gpu_report import Part, make_report, plan

SLEEPER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


def part(title: str, code: str, *words: str, **more) -> Part:
    return Part(title, ("-c", code, *words), ("json",), 1, **more)


def report(parts: list[Part], tmp_path: Path, seconds: float = 60, missing: str | None = None):
    output = tmp_path / "gpu.md"
    results = make_report(parts, "# Head\n", missing, time.monotonic() + seconds, output)
    return results, output.read_text()


@pytest.mark.slow
def test_without_a_gpu_everything_is_skipped_and_said_so(tmp_path):
    path = tmp_path / "new" / "gpu.md"
    result = run_script("gpu_report", "-o", path, CUDA_VISIBLE_DEVICES="")
    assert (result.returncode, result.stdout) == (0, f"{path}\n"), result.stderr
    text = path.read_text()
    assert text.count("\nSkipped: no CUDA GPU.\n") == text.count("\n## ") == 5
    assert "- GPU: none\n" in text
    assert list(path.parent.iterdir()) == [path]  # nothing was drawn for nothing


def test_the_parts_are_those_of_the_repository():
    parts = plan(ROOT / "outputs/gpu", ROOT / "photos", ["compile=false"])
    files = [word for part in parts for word in part.command if word.endswith(".py")]
    assert {"scripts/benchmark.py", "scripts/train.py", "tests/test_gpu.py"} <= set(files)
    assert all((ROOT / file).is_file() for file in files)
    assert parts[3].command[-1] == "compile=false"
    assert str(ROOT) not in str([part.command for part in parts])


def test_a_part_that_fails_is_a_line_and_the_others_go_on(tmp_path):
    parts = [
        part("Good", "print('| a |')", markdown=True),
        part("Bad", "print('half'); import sys; sys.exit('error: it broke')"),
        part("Last", "print('text')"),
    ]
    results, text = report(parts, tmp_path)
    assert [result.failed for result in results] == [False, True, False]
    assert "\n| a |\n" in text
    assert "\nFAILED: exit status 1; its last line: error: it broke\n\n```\nhalf\n```\n" in text
    assert text.endswith("```\ntext\n```\n")


@pytest.mark.slow
def test_what_hangs_is_ended_with_its_children_in_its_share_of_the_time(tmp_path):
    alive = tmp_path / "alive"
    child = f"import pathlib, time; time.sleep(9); pathlib.Path({str(alive)!r}).touch()"
    begin = time.monotonic()
    results, text = report([part("Slow", SLEEPER, child), part("Quick", "")], tmp_path, seconds=8)
    assert time.monotonic() - begin < 7
    assert "FAILED: not done after 4 s; its last line: it said nothing" in text
    assert [result.failed for result in results] == [True, False]
    time.sleep(max(0, begin + 10 - time.monotonic()))
    assert not alive.exists()


def test_without_time_a_part_is_not_begun(tmp_path):
    results, _ = report([part("Late", "open('late', 'w')")], tmp_path, seconds=1)
    assert results[0].verdict == "FAILED: no time was left for it."


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(gpu_report.PACKAGES, "nosuch", "no-such")
    absent = Part("Absent", ("-c", ""), ("json", "nosuch"), 1)
    later = part("Later", "print('{file}')", "{file}", file="*/x.safetensors")
    results, _ = report([absent, later], tmp_path)
    assert [result.verdict for result in results] == [
        "Skipped: no-such not installed.",
        "Skipped: the part before it made no style file.",
    ]
    (tmp_path / "gpu/run").mkdir(parents=True)
    (tmp_path / "gpu/run/x.safetensors").touch()
    results, _ = report([later], tmp_path)
    assert results[0].output == f"{tmp_path / 'gpu/run/x.safetensors'}\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--minutes", "0"], "minutes: expected a number above 0, found 0.0"),
        (["-o", "{tmp}/file/gpu.md"], "file: expected a folder to write into"),
    ],
)
def test_bad_input(args, said, tmp_path):
    (tmp_path / "file").touch()
    result = run_inline("gpu_report", *(word.format(tmp=tmp_path) for word in args))
    assert said in error_line(result)
