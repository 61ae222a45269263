import shutil

import numpy as np
import pytest

from timbrel.data import render as module
from timbrel.data.render import LIBRARIES, find_library, render
from timbrel.data.scores import Note
from timbrel.data.splits import HELD_OUT_LIBRARIES
from timbrel.errors import InputError, MissingDependencyError
from timbrel.instruments import INSTRUMENTS

RATE = 22050
TUNE = [Note(0.4, 0.8, 69), Note(0.8, 1.2, 72)]
plays = pytest.mark.skipif(
    shutil.which("timidity") is None or LIBRARIES["timgm6mb"].path is None,
    reason="TiMidity++ or its library is not installed: apt-get install timidity timgm6mb-soundfont",
)


@plays
@pytest.mark.parametrize("instrument", ["guitar", "violin"])
def test_notes_sound_when_and_as_they_should(instrument):
    waveform = render(TUNE, INSTRUMENTS[instrument].program, "timgm6mb", sample_rate=RATE, duration_s=1.5)
    assert waveform.shape == (round(1.5 * RATE),)
    assert waveform.dtype == np.float32
    level = np.sqrt((waveform[: RATE * 3 // 2 // 441 * 441].reshape(-1, 441) ** 2).mean(axis=1))
    assert level[:19].max() < 0.01 * level.max()  # the rest before the first note, 0.38 s
    assert level[22:38].min() > 0.05 * level.max()
    part = waveform[int(0.5 * RATE) : int(0.75 * RATE)]
    power = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 17)) ** 2
    hz = np.fft.rfftfreq(1 << 17, 1 / RATE)
    strongest = hz[power.argmax()]
    assert abs(strongest / 440 - max(1, round(strongest / 440))) < 0.03


@plays
def test_programs_differ_and_a_render_repeats():
    one, same = (render(TUNE, 0, "timgm6mb", sample_rate=RATE, duration_s=1.3) for _ in range(2))
    other = render(TUNE, 40, "timgm6mb", sample_rate=RATE, duration_s=1.3)
    np.testing.assert_array_equal(one, same)
    assert np.corrcoef(one, other)[0, 1] < 0.9


@plays
def test_no_hiss_of_rounding_is_heard():
    waveform = render(TUNE, 46, "timgm6mb", duration_s=1.5)
    power = np.abs(np.fft.rfft((waveform * np.hanning(len(waveform)))[8820:])) ** 2
    hz = np.fft.rfftfreq(len(waveform) - 8820, 1 / 44100)
    assert 10 * np.log10(np.median(power[(hz > 11000) & (hz < 13000)]) / power.max()) < -95


@plays
def test_without_a_duration_the_last_note_rings_out():
    waveform = render(TUNE, 0, "timgm6mb", sample_rate=RATE)
    assert len(waveform) > 1.2 * RATE
    assert np.abs(waveform[-100:]).max() < 0.05 * np.abs(waveform).max()


@plays
def test_wrong_arguments_are_named():
    with pytest.raises(InputError, match="no notes"):
        render([], 0, "timgm6mb")
    with pytest.raises(InputError, match="program is 128"):
        render(TUNE, 128, "timgm6mb")


def test_unknown_and_missing_libraries_say_what_to_do(monkeypatch):
    with pytest.raises(InputError, match="'casio' is unknown; expected one of fluidr3"):
        find_library("casio")
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(MissingDependencyError, match="apt-get install timidity"):
        find_library("fluidr3")
    monkeypatch.setattr(module.shutil, "which", lambda name: name)
    monkeypatch.setattr(module.Path, "exists", lambda path: False)
    with pytest.raises(MissingDependencyError, match="apt-get install fluid-soundfont-gm"):
        find_library("fluidr3")


def test_the_table_is_what_the_rest_relies_on():
    assert set(HELD_OUT_LIBRARIES) <= set(LIBRARIES)
    assert LIBRARIES["fluidr3"].family == LIBRARIES["musescore"].family
