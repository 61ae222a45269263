import json

import pytest

from timbrel.errors import InputError
from timbrel.experiments.run import keep_settings, measure_row, measure_rows, run_parts


def test_rows_are_measured_once_and_come_in_order(tmp_path):
    calls = []

    def measure(number):
        calls.append(number)
        return {"square": (number**2,)}

    jobs = {"two": 2, "one": 1}
    rows = measure_rows(measure, jobs, tmp_path / "rows", workers=1)
    assert rows == {"two": {"square": [4]}, "one": {"square": [1]}}
    assert measure_rows(measure, {"three": 3, **jobs}, tmp_path / "rows", workers=1) == {
        "three": {"square": [9]},
        **rows,
    }
    assert list(measure_rows(measure, jobs, tmp_path / "rows", workers=1)) == ["two", "one"]
    assert calls == [2, 1, 3]
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == ["one.json", "three.json", "two.json"]


def test_what_was_measured_before_an_error_is_kept(tmp_path):
    with pytest.raises(ZeroDivisionError):
        measure_rows(lambda x: 1 / x, {"one": 1, "zero": 0, "two": 2}, tmp_path, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert measure_rows(str, {"a": 1}, workers=1) == {"a": "1"}
    assert not list(tmp_path.iterdir())


def test_one_row(tmp_path):
    assert measure_row(lambda: [1, 2], tmp_path / "new", "a") == [1, 2]
    assert measure_row(lambda: pytest.fail("measured again"), tmp_path / "new", "a") == [1, 2]


def test_other_settings_are_refused_and_the_first_stay(tmp_path):
    keep_settings(tmp_path / "new", {"clips": 10})
    keep_settings(tmp_path / "new", {"clips": 10})
    with pytest.raises(InputError, match="was made with clips 10; now clips is 11"):
        keep_settings(tmp_path / "new", {"clips": 11})
    assert json.loads((tmp_path / "new" / "settings.json").read_text()) == {"clips": 10}


def test_of_many_settings_in_one_the_first_other_one_is_named(tmp_path):
    keep_settings(tmp_path / "new", {"classes": {"bell": ["a", "b"], "drum": ["a"]}})
    with pytest.raises(
        InputError, match=r"was made with classes, drum, \['a'\]; now classes, drum, is \['a', 'c'\]\. Use"
    ):
        keep_settings(tmp_path / "new", {"classes": {"bell": ["a", "b"], "drum": ["a", "c"]}})
    with pytest.raises(InputError, match=r"with classes, gong, None; now classes, gong, is \['c'\]\. Use"):
        keep_settings(tmp_path / "new", {"classes": {"bell": ["a", "b"], "drum": ["a"], "gong": ["c"]}})


def test_parts_run_in_order_once_and_say_their_minutes(tmp_path, capsys):
    seen = []
    parts = {name: lambda run, name=name: seen.append((name, run)) or {"of": name} for name in ("first", "second")}
    done = run_parts(parts, "a run", tmp_path)
    assert {name: part["of"] for name, part in done.items()} == {"first": "first", "second": "second"}
    assert all(part["minutes"] >= 0 for part in done.values())
    assert "part 2 of 2: second" in capsys.readouterr().err
    assert run_parts(parts, "a run", tmp_path, progress=False) == done
    assert seen == [("first", "a run"), ("second", "a run")]
    assert capsys.readouterr().err == ""
