from typing import Any

import pytest

from timbrel.data.splits import HELD_OUT_COMPOSERS, assign_split, is_held_out, refuse_held_out, split_keys
from timbrel.data.store import Entry
from timbrel.errors import InputError


def test_splits_are_the_same_everywhere_and_near_the_share():
    keys = [f"bach/bwv{i}" for i in range(2000)]
    splits = {key: assign_split(key, 0.1, 0) for key in keys}
    assert 0.08 < list(splits.values()).count("validation") / 2000 < 0.12
    assert [key for key in keys[:30] if splits[key] == "validation"] == ["bach/bwv12", "bach/bwv14"]
    assert any(assign_split(key, 0.1, 1) != splits[key] for key in keys)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(InputError, match="validation_share is"):
        assign_split("a", share)


@pytest.mark.parametrize("name", [*HELD_OUT_COMPOSERS, "Händel", "C.P.E. Bach", "Robert Schumann", "W. A. Mozart"])
def test_held_out_composers_are_known_however_spelt(name):
    assert is_held_out(composer=name)


@pytest.mark.parametrize("name", ["bach", "webern", "palestrina", "ryansMammoth", "", None])
def test_other_composers_are_not_held_out(name):
    assert not is_held_out(composer=name)


def test_both_sides_have_something_wherever_there_are_two():
    for seed in range(30):
        for count in range(2, 6):
            splits = split_keys((f"piano/{i}.wav" for i in range(count)), 0.1, seed)
            assert len(splits) == count
            assert set(splits.values()) == {"train", "validation"}
    assert split_keys(["one"], 0.9, 3) == {"one": "train"}
    assert set(split_keys("abcdef", 0.0).values()) == {"train"}
    assert split_keys([]) == {}


def test_another_recording_leaves_the_others_where_they_were():
    before = split_keys((f"{i}.wav" for i in range(40)), 0.2)
    after = split_keys((f"{i}.wav" for i in range(41)), 0.2)
    assert {key: after[key] for key in before} == before


def entry(**fields: Any) -> Entry:
    return Entry(id="a", label="piano", split="train", frames=1, source="a.wav", **fields)


def test_training_refuses_what_the_benchmark_owns():
    refuse_held_out([entry(composer="bach", library="fluidr3"), entry()])
    with pytest.raises(InputError, match=r"composer 'joplin' \(2 entries\), library 'freepats' \(1 entries\)"):
        refuse_held_out([entry(composer="joplin"), entry(composer="joplin", library="freepats")])
