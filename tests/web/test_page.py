"""The page in a real browser."""

import json
import re
import zipfile
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from timbrel.cli.main import main
from timbrel.metrics import notes


@pytest.fixture
def built():
    """A page that no browser opens, and the queue of its jobs."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'timbrel[web]'")
    from timbrel.web import page

    studio = MagicMock(instruments=["violin"], own_instruments=[], players=lambda: ["violin"])
    jobs = MagicMock()
    return page.build(studio, jobs), jobs


def handler(blocks, event, name):
    [function] = [one.fn for one in blocks.fns.values() if (one.targets[0][1], one.fn.__name__) == (event, name)]
    return function


def test_who_leaves_stops_no_call_by_http(built):
    blocks, jobs = built
    handler(blocks, "unload", "gone")(SimpleNamespace(session_hash="api"))
    jobs.stop.assert_called_once_with("page api ")


def test_a_cleared_recording_waits_for_no_job(built):
    blocks, jobs = built
    [shown] = handler(blocks, "change", "handler")(SimpleNamespace(session_hash="visitor"), None)
    assert any("Choose a recording" in html for html in shown.values())
    jobs.run.assert_not_called()


def put(page, path, slot="#music"):
    page.locator(f"{slot} input[type=file]").set_input_files(path)
    page.locator(f"{slot} [aria-label='Clear'], {slot} [title='Clear']").first.wait_for()


def transfer(page):
    page.get_by_role("button", name="Transfer", exact=True).click()


def choose_takes(page, count):
    page.get_by_role("button", name="More").click()
    number = page.get_by_role("spinbutton", name="Takes")
    slider = page.get_by_role("slider", name="Takes")
    for _ in range(30):  # what is typed before Gradio has wired the panel up is lost
        number.fill(str(count))
        number.press("Tab")
        page.wait_for_timeout(500)
        if slider.input_value() == str(count):
            return
    raise AssertionError(f"takes are {slider.input_value()} after 15 s of typing {count}")


def said(page, text):
    """Waits until a screen reader is told."""
    page.locator("#tb-said", has_text=text).wait_for()


def result(page):
    """The last lane's title and file name."""
    lane = page.locator(".tb-lane").last
    lane.wait_for()
    return lane.locator(".tb-tag").inner_text().split("\n")


def test_a_transfer_is_heard_compared_and_downloaded(visit, server, clips, tmp_path):
    page = visit()
    transfer(page)
    said(page, "Choose some music first")
    page.evaluate("document.getElementById('tb-said').textContent = ''")
    transfer(page)
    said(page, "Choose some music first")
    put(page, clips.song)
    transfer(page)
    assert result(page) == ["B", "Result", "song-violin.wav"]
    said(page, "Ready: violin, seed 0")
    assert page.locator(".tb-spectrogram img").evaluate_all("all => all.every(one => one.naturalWidth > 20)")

    sounds = "[...document.querySelectorAll('.tb-lane audio')]"
    page.wait_for_function(f"{sounds}.every(one => one.readyState >= 2)")
    assert page.evaluate(f"{sounds}.map(one => one.muted)") == [True, False]
    page.keyboard.press("b")
    assert page.evaluate(f"{sounds}.map(one => one.muted)") == [False, True]
    assert page.locator(".tb-heard").inner_text().startswith("A")
    gains = page.locator(".tb-lane").evaluate_all("all => all.map(one => Number(one.dataset.gain))")
    assert max(gains) == 1
    page.locator(".tb-spectrogram").first.click(position={"x": 200, "y": 20})
    times = page.evaluate(f"{sounds}.map(one => one.currentTime)")
    width = page.locator(".tb-spectrogram").first.bounding_box()["width"]
    assert times == pytest.approx([1.5 * 200 / width] * 2, abs=0.02)
    page.keyboard.press("Space")
    page.wait_for_function(f"!{sounds}[0].paused && {sounds}[0].currentTime > {times[0]} + 0.05")

    with page.expect_download() as download:
        page.get_by_role("link", name="song-violin.wav").click()
    assert download.value.suggested_filename == "song-violin.wav"
    model, own = str(server.model), tmp_path / "song-violin.wav"
    assert (
        main(["transfer", str(clips.song), "--to", "violin", "--transpose", "auto", "--model", model, "-o", str(own)])
        == 0
    )
    assert download.value.path().read_bytes() == own.read_bytes()

    with page.expect_download() as download:
        page.get_by_role("button", name="All of it as one zip").click()
    assert download.value.suggested_filename == "song-violin.zip"
    with zipfile.ZipFile(download.value.path()) as file:
        expected = {"song.wav", "song-violin.wav", "song-violin.png", "settings.json"}
        assert set(file.namelist()) == expected | ({"song-violin.mid"} if notes.available() else set())
        if notes.available():
            assert file.read("song-violin.mid")[:4] == b"MThd"
        assert file.read("song-violin.wav") == own.read_bytes()
        settings = json.loads(file.read("settings.json"))
    assert (settings["task"], settings["sound"], settings["settings"]["seed"]) == ("transfer", "violin", 0)


def test_one_waits_for_the_other_and_stop_ends_the_work(visit, clips):
    first, second = visit(), visit()
    put(first, clips.long)
    choose_takes(first, 8)
    put(second, clips.other)
    transfer(first)
    first.locator(".tb-progress").wait_for()
    transfer(second)
    said(second, "Waiting, number 1 in the queue")
    first.get_by_role("button", name="Stop").click()
    said(first, "Stopped.")
    assert first.locator(".tb-lane").count() == 0
    assert result(second) == ["B", "Result", "other tune-violin.wav"]
    assert second.get_by_role("button", name="Transfer", exact=True).is_enabled()


def test_two_takes_from_a_clip_are_kept_to_go_back_to(visit, clips):
    page = visit()
    put(page, clips.song)
    page.get_by_label("A recording").check()
    put(page, clips.other, "#clip")
    choose_takes(page, 2)
    transfer(page)
    assert result(page)[2] == "song-other tune.wav"
    page.get_by_label("other tune, seed 1").check()
    page.locator(".tb-player[aria-label='other tune, seed 1']").wait_for()


def test_errors_are_the_apis_own_and_no_end(visit, clips):
    page = visit()
    put(page, clips.broken)
    transfer(page)
    alert = page.get_by_role("alert")
    alert.filter(has_text="broken.wav").wait_for()
    assert alert.inner_text().startswith("broken.wav ")
    page.get_by_role("button", name="Clear").first.click()
    put(page, clips.endless)
    transfer(page)
    alert.filter(has_text="endless.wav lasts at least 5 minutes; expected at most 4").wait_for()


def test_a_gap_is_chosen_by_dragging(visit, clips):
    page = visit()
    page.get_by_role("tab", name="Fill a gap").click()
    put(page, clips.song, "#gapped")
    spectrogram = page.locator(".tb-select")
    box = spectrogram.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 30, steps=4)
    page.mouse.up()
    start, end = (float(page.locator(f"#{name} input").input_value()) for name in ("gap-start", "gap-end"))
    assert (start, end) == pytest.approx((0.375, 0.75), abs=0.02)
    assert not page.locator(".tb-span").is_hidden()


def test_the_microphone_gives_music(visit):
    page = visit()
    music = page.get_by_role("group", name="Music")
    music.get_by_role("button", name="Record audio").click()
    music.get_by_role("button", name="Record", exact=True).click()
    music.get_by_text(re.compile("0:0[1-9]")).first.wait_for()
    music.get_by_role("button", name="Stop").click()
    music.get_by_role("button", name="Play", exact=True).wait_for()
    transfer(page)
    assert result(page) == ["B", "Result", "audio-violin.wav"]


def test_a_telephone_shows_every_tab_and_a_screen_reader_names_all_controls(visit):
    page = visit(width=390)
    for name in ("Transfer", "Duet", "Accompany", "Generate", "Fill a gap", "Extend", "Paint", "Instruments"):
        if not page.get_by_role("tab", name=name, exact=True).is_visible():
            page.get_by_role("button", name="More tabs").click()
        page.locator("[role=tab], .overflow-dropdown button").filter(has_text=name, visible=True).last.click()
        panel = page.get_by_role("tabpanel").filter(visible=True)
        panel.get_by_role("button").first.wait_for()
        page.wait_for_function("document.documentElement.scrollWidth == 390")
        controls = re.findall(
            r"- '?(group|button|textbox|slider|spinbutton|combobox|checkbox|radio)\b(.*)", panel.aria_snapshot()
        )
        assert len(controls) > 3, name
        assert all(re.match(r' "[^"]', rest) for _, rest in controls), (name, controls)
