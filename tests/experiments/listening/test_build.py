"""The listening test that is written: what is compared, how loud it is, and that no name tells what a sound is."""

import json
import re

import numpy as np
import pytest
from scipy.signal import freqz

from timbrel.audio.io import read_audio, write_audio
from timbrel.audio.level import loudness
from timbrel.errors import InputError
from timbrel.experiments.benchmark import manifest
from timbrel.experiments.listening.answers import evaluate
from timbrel.experiments.listening.build import anchor, build, equally_loud, low_pass

RATE = 44100


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """The first triplet of each direction: half a second of noise, of another level each."""
    folder, rng = tmp_path_factory.mktemp("benchmark"), np.random.default_rng(0)
    for triplet in manifest.triplets()[:12]:
        for kind, level in (("content", 0.02), ("style", 0.3), ("target", 0.1)):
            (folder / kind).mkdir(exist_ok=True)
            noise = level * rng.uniform(-1, 1, (1, 22050 if kind != "style" else 30000)).astype(np.float32)
            write_audio(folder / kind / f"{triplet.id}.wav", noise, RATE)
    return folder


@pytest.fixture(scope="module")
def made(benchmark, tmp_path_factory):
    out = tmp_path_factory.mktemp("tests") / "out"
    build(benchmark, out, rows=["unchanged", "other-piece"], seed=3, workers=1, progress=False)
    return out


def test_each_trial_has_the_systems_a_hidden_reference_and_an_anchor(made):
    key = json.loads((made / "key.json").read_text())
    assert key["systems"] == {
        "unchanged": "nothing done",
        "other-piece": "another piece, right instrument",
        "reference": "hidden reference",
        "anchor": "anchor, 3.5 kHz",
    }
    assert [trial["triplet"] for trial in key["trials"]] == [t.id for t in manifest.triplets()[:12]]
    for trial in key["trials"]:
        assert sorted(trial["sounds"].values()) == sorted(key["systems"])
        files = {system: made / "page/sounds" / f"{name}.flac" for name, system in trial["sounds"].items()}
        sounds = {system: read_audio(file)[0] for system, file in files.items()}
        assert {sound.shape for sound in sounds.values()} == {(1, 22050)}
        levels = [loudness([sound]) for sound in sounds.values()]
        assert max(levels) / min(levels) < 1.01
        opened = read_audio(made / "page/sounds" / f"{trial['open']}.flac")[0]
        np.testing.assert_array_equal(opened, sounds["reference"])
        spectrum = np.abs(np.fft.rfft(sounds["anchor"][0]))
        assert np.square(spectrum[2250:]).sum() < 1e-4 * np.square(spectrum).sum(), "4.5 kHz and above"


def test_the_page_tells_nothing(made):
    page, key = (made / "page/index.html").read_text(), json.loads((made / "key.json").read_text())
    assert not any(title in page for title in key["systems"].values())
    assert not any(name in page for name in ("other-piece", "anchor", *(trial["triplet"] for trial in key["trials"])))
    test = json.loads(re.findall(r'id="test">(.*?)</script>', page, re.DOTALL)[0])
    assert (test["test"], test["seed"]) == (key["test"], 3)
    places = set()
    for trial, its_key in zip(test["trials"], key["trials"], strict=True):
        assert sorted(its_key["sounds"]) == trial["sounds"]
        places.add(trial["sounds"].index(next(n for n, s in its_key["sounds"].items() if s == "reference")))
    assert len(places) > 1, "the reference is not always at one place"
    files = {path.stem for path in (made / "page/sounds").iterdir()}
    assert files == {name for trial in test["trials"] for name in (trial["open"], *trial["sounds"])}
    assert not re.search(r"(src|href)=.?(https?:)?//", page), "works without a network"


def test_a_listener_answers_in_a_browser(made, browser, tmp_path):
    key = json.loads((made / "key.json").read_text())
    page = browser.new_page(accept_downloads=True)
    page.set_default_timeout(30_000)
    page.goto((made / "page/index.html").as_uri())
    page.get_by_role("textbox", name="Your name").fill("anna")
    page.keyboard.press("Enter")
    for _ in key["trials"]:
        names = page.evaluate("players.map(player => player.name)")
        page.keyboard.press("r")
        page.wait_for_function("players[0].currentTime > 0")
        [of] = [trial["sounds"] for trial in key["trials"] if trial["open"] == names[0]]
        for number, name in enumerate(names[1:], 1):
            assert page.locator("#next").is_disabled()
            page.keyboard.press(str(number))
            page.keyboard.press("End" if of[name] == "reference" else "Home")
        page.keyboard.press("Enter")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save answers").click()
    assert download.value.suggested_filename == "answers-anna.json"
    download.value.save_as(tmp_path / "answers.json")
    page.close()
    rows = evaluate([tmp_path / "answers.json"], made)["rows"]
    assert {name: row["mushra"]["mean"] for name, row in rows.items()} == {
        "unchanged": 0,
        "other-piece": 0,
        "reference": 100,
        "anchor": 0,
    }


def test_the_anchor_is_that_of_the_recommendation():
    hertz, response = freqz(low_pass(), worN=1 << 14, fs=RATE)
    level_db = 20 * np.log10(np.abs(response) + 1e-9)
    assert np.abs(level_db[hertz <= 3500]).max() < 0.1
    assert level_db[hertz >= 4000].max() < -25
    assert level_db[hertz >= 4500].max() < -50
    click = np.zeros((1, 4000), np.float32)
    click[0, 2000] = 1
    assert np.abs(anchor(click)).argmax() == 2000


def test_loudness_is_equal_without_clipping():
    loud = (0.9 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)[None]
    click = np.where(np.arange(RATE) % 8000 < 4, np.float32(0.5), 0 * loud)
    trial = equally_loud({"loud": loud, "click": click, "silence": 0 * loud})
    assert max(np.abs(sound).max() for sound in trial.values()) == pytest.approx(0.98, abs=1e-3)
    assert loudness([trial["loud"]]) == pytest.approx(loudness([trial["click"]]), rel=1e-3)
    assert not trial["silence"].any()


def test_wrong_values_are_said(benchmark, tmp_path):
    with pytest.raises(InputError, match="row 'magic' is unknown"):
        build(benchmark, tmp_path / "new", rows=["magic"])
    with pytest.raises(InputError, match="built without fluidr3; leave this row out"):
        build(benchmark, tmp_path / "new", rows=["model-other-style"])
    with pytest.raises(InputError, match="expected at least 1"):
        build(benchmark, tmp_path / "new", per_direction=0)
    with pytest.raises(InputError, match="name a new folder"):
        build(benchmark, tmp_path)
    assert not list(tmp_path.iterdir())
