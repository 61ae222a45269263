"""Answers become means; who cannot hear the reference does not count."""

import json

import pytest

from timbrel.cli.main import main
from timbrel.errors import InputError
from timbrel.experiments.listening.answers import evaluate, results_table
from timbrel.experiments.listening.build import key_of, page

TITLES = {"ours": "ours & theirs", "bad": "bad"}
SCORES = {"ours": 70, "bad": 20, "reference": 100, "anchor": 30}


@pytest.fixture
def place(tmp_path):
    """A folder with the key of a test of twenty trials, and a function that writes a listener's answers."""
    systems = [*TITLES, "reference", "anchor"]
    trials = [
        {"triplet": f"t{k}", "open": f"open{k}", "sounds": {f"{system[0]}{k}": system for system in systems}}
        for k in range(20)
    ]
    key = key_of(TITLES, trials, 0)
    (tmp_path / "key.json").write_text(json.dumps(key))

    def write(listener, missed=0, shift=0, **changes):
        ratings = {f"{system[0]}{k}": score for k in range(20) for system, score in SCORES.items()}
        ratings |= {f"o{k}": SCORES["ours"] + shift + k % 2 for k in range(20)}
        ratings |= {f"r{k}": 80 for k in range(missed)}
        path = tmp_path / f"{listener}.json"
        path.write_text(json.dumps({"test": key["test"], "listener": listener, "ratings": ratings} | changes))
        return path

    return tmp_path, write


def test_means_with_intervals(place):
    folder, write = place
    results = evaluate([write("anna", missed=3), write("ben", shift=10), write("carl", missed=4, shift=-50)], folder)
    assert results["listeners"] == ["anna", "ben"]
    assert results["excluded"] == {"carl": 0.2}
    ours = results["rows"]["ours"]["mushra"]
    assert ours["mean"] == 75.5
    assert 70 <= ours["low"] < 73, "listeners are drawn anew, too"
    assert 78 < ours["high"] <= 81
    exact = {"mean": 20, "low": 20, "high": 20, "clips": 40}
    assert results["rows"]["bad"] == {"title": "bad", "mushra": exact, "low_share": 1}
    lines = results_table(results).rows
    assert [line[0] for line in lines] == ["hidden reference", "ours & theirs", "anchor, 3.5 kHz", "bad"]


def test_the_command(place, capsys):
    folder, write = place
    files = [str(write("anna")), str(write("carl", missed=20))]
    assert main(["evaluate", "listened", *files, "--test", str(folder), "--out", str(folder / "means.json")]) == 0
    said = capsys.readouterr().out
    assert "ours & theirs     70 [70, 71]" in said
    assert "1 listener; means" in said
    assert "Left out: carl, who rated the hidden reference under 90 in 100% of the trials." in said
    assert json.loads((folder / "means.json").read_text())["listeners"] == ["anna"]
    assert main(["evaluate", "listened", files[1], "--test", str(folder)]) == 2
    assert "none of 1 listeners is left" in capsys.readouterr().err


def test_wrong_answers_are_said(place):
    folder, write = place
    for path, message in (
        (write("a", test="other"), "is of the test 'other'"),
        (write("b", ratings={}), "has the rating None"),
        (write("c", ratings=[1]), "holds no answers"),
        (folder / "none.json", "holds no answers"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate([path], folder)
    with pytest.raises(InputError, match="who is there already"):
        evaluate([write("anna"), write("anna")], folder)
    with pytest.raises(InputError, match=r"key\.json cannot be read"):
        evaluate([write("anna")], folder / "other")
    whole = json.loads((folder / "key.json").read_text())
    keys: list[object] = [[1], {}, *(whole | {"trials": trials} for trials in ([], [1]))]
    for key in [*keys, whole | {"systems": {"ours": "ours"}}]:
        (folder / "key.json").write_text(json.dumps(key))
        with pytest.raises(InputError, match=r"key\.json cannot be read"):
            evaluate([write("anna")], folder)


def test_a_page_holds_a_test_that_cannot_break_out_of_it(place):
    folder, _ = place
    key = json.loads((folder / "key.json").read_text()) | {"test": "</script><b>"}
    assert "</script><b>" not in page(key)
