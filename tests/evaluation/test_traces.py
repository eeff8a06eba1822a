"""Traces of the reference: what they stop at, what they depend on, and the cache."""

import json

import pytest
import torch

import fst.evaluation.traces
from fst.evaluation.traces import PROTOCOLS, Protocol, Trace, equivalents, trace
from tests.evaluation.test_gatys import make_loss, make_photo


@pytest.fixture(autouse=True)
def short(monkeypatch):
    quick = {
        "johnson": Protocol(start="noise", line_search=False, least=2, most=12),
        "strict": Protocol(start="photo", line_search=True, least=6, most=12),
    }
    monkeypatch.setattr(fst.evaluation.traces, "PROTOCOLS", quick)


def test_protocols_are_those_of_the_docstring():
    johnson, strict = PROTOCOLS["johnson"], PROTOCOLS["strict"]
    assert (johnson.start, johnson.line_search) == ("noise", False)
    assert (strict.start, strict.line_search) == ("photo", True)


def test_first_at_or_below():
    found = Trace([9, 4, 4.0, 1], [1, 2, 3, 4], [0, 1, 2, 3])
    assert [found.first_at_or_below(value) for value in (9, 5, 4, 1.5, 0.5)] == [0, 1, 1, 3, None]


def test_equivalents_count_what_was_not_met_as_the_most():
    assert equivalents([10, 30, None, 20], most=50) == {
        "median": 25,
        "min": 10,
        "q1": 17.5,
        "q3": 35,
        "max": 50,
    }


def test_a_trace_ends_where_the_objective_is_met(tmp_path):
    photo, loss = make_photo(), make_loss()
    whole, _ = trace(photo, loss, "johnson", 0, tmp_path / "a")
    assert len(whole.objectives) == 13
    assert whole.evaluations == list(range(1, 14))
    found, picture = trace(photo, loss, "johnson", whole.objectives[5], tmp_path / "b")
    assert found.objectives == pytest.approx(whole.objectives[:6])
    assert found.first_at_or_below(whole.objectives[5]) == 5
    assert picture.shape == photo.shape
    assert loss(picture, photo)["total"].item() == pytest.approx(found.objectives[2], rel=0.02)


def test_a_better_network_makes_the_trace_longer_and_leaves_the_picture(tmp_path):
    photo, loss = make_photo(), make_loss()
    short, before = trace(photo, loss, "johnson", 1e9, tmp_path)
    longer, after = trace(photo, loss, "johnson", 0, tmp_path)
    assert len(short.objectives) == 3
    assert len(longer.objectives) == 13
    assert longer.objectives[:3] == pytest.approx(short.objectives)
    assert torch.equal(before, after)


def test_the_strict_protocol_goes_on_for_the_picture(tmp_path):
    found, _ = trace(make_photo(), make_loss(), "strict", 1e9, tmp_path)
    assert found.first_at_or_below(1e9) == 0
    assert len(found.objectives) == 7


def test_a_second_time_comes_from_the_cache(tmp_path, monkeypatch):
    photo, loss = make_photo(), make_loss()
    first, picture = trace(photo, loss, "johnson", 0, tmp_path)
    monkeypatch.setattr(fst.evaluation.traces, "optimize", None)
    again, same = trace(photo, loss, "johnson", first.objectives[4], tmp_path)
    assert again == first
    assert torch.equal(picture, same)


def test_other_photos_losses_and_paintings_have_other_traces(tmp_path):
    photo, loss = make_photo(), make_loss()
    other = make_loss()
    other.set_style(torch.rand(1, 3, 64, 64) ** 2)
    for one, criterion in (
        (photo, loss),
        (photo * 0.9, loss),
        (photo, other),
        (photo, make_loss(tv_weight=0.2)),
    ):
        trace(one, criterion, "johnson", 1e9, tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 4
    assert len(list(tmp_path.glob("*.png"))) == 4


@pytest.mark.parametrize("damage", ["", "{}", "[1]", "\x00"])
def test_a_damaged_cache_is_written_anew(tmp_path, damage):
    photo, loss = make_photo(), make_loss()
    first, _ = trace(photo, loss, "johnson", 1e9, tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.write_text(damage)
    again, _ = trace(photo, loss, "johnson", 1e9, tmp_path)
    assert again.objectives == first.objectives
    assert json.loads(path.read_text())["objectives"] == first.objectives


def test_the_cache_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trace(make_photo(), make_loss(), "johnson", 1e9)
    assert len(list((tmp_path / "fst" / "traces").glob("johnson-*.json"))) == 1
