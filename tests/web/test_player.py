"""HTML of the page."""

import pytest

from timbrel.web import player
from timbrel.web.sounds import Sound, Take


@pytest.mark.parametrize("titles", [["Result"], ["Source", "Result"], ["Violin", "Guitar", "Mix"], ["Source"]])
def test_what_was_made_can_be_downloaded_and_no_source(tmp_path, titles):
    sounds = tuple(
        Sound(tmp_path / f"{title}.wav", title, 1.0, 0.1, tmp_path / "picture.png", is_source=title == "Source")
        for title in titles
    )
    shown = player.player(Take("take", sounds))
    assert [title for title in titles if f'download="{title}.wav"' in shown] == [t for t in titles if t != "Source"]


def test_there_is_a_lane_for_each_of_many_sounds(tmp_path):
    sounds = tuple(Sound(tmp_path / f"{k}.wav", f"{k}", 1.0, 0.1, tmp_path / "picture.png") for k in range(12))
    shown = player.player(Take("band", sounds))
    assert shown.count("<audio") == 12
    assert "<b>L</b>" in shown
