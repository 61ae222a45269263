"""A benchmark drawn from scores that are made up is of the shape of the frozen one."""

from collections import Counter

import pytest

from timbrel.experiments.benchmark.manifest import DURATION_S, Excerpt, manifest
from tools import draw_benchmark


def places(score, duration_s, max_gap_s, rng):
    for k in range(100):
        yield Excerpt(score, float(k), 0, duration_s, digest=f"{score}-{k}")


def test_it_is_of_the_shape_of_the_frozen_one(monkeypatch):
    pytest.importorskip("music21")
    monkeypatch.setattr(draw_benchmark, "_pool", lambda: [f"score-{k}" for k in range(60)])
    monkeypatch.setattr(draw_benchmark, "places", places)
    drawn, frozen = draw_benchmark.draw(), manifest()
    assert drawn.keys() == frozen.keys()
    assert [t["id"] for t in drawn["triplets"]] == [t["id"] for t in frozen["triplets"]]
    assert [t["id"] for t in drawn["long"]] == [t["id"] for t in frozen["long"]]
    used = Counter(excerpt["digest"] for t in drawn["triplets"] for excerpt in (t["content"], t["style"]))
    assert set(used.values()) == {1}
    assert all(t["content"]["score"] != t["style"]["score"] for t in drawn["triplets"])
    assert {t["content"]["duration_s"] for t in drawn["triplets"]} == {DURATION_S}
    assert drawn == draw_benchmark.draw()
