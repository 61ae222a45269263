import random

import numpy as np
import pytest
import soundfile

from timbrel.data.performances import Passage, passages, read_notes, tuning_cents
from timbrel.errors import InputError

RATE = 16000
HEAD = "onset_s,offset_s,midi_pitch\n"
NOTES = [(0.5, 1.0, 69), (1.2, 1.7, 71), (2.0, 2.8, 76), (3.5, 4.5, 74), (5.0, 5.8, 69), (7.0, 7.9, 72)]


def _sound(cents=0.0, loud=(0.3, 0.3, 0.3, 0.3, 0.3, 0.3)):
    """Six notes of three partials, 8 s."""
    sound = np.zeros(8 * RATE)
    for (on, off, pitch), level in zip(NOTES, loud, strict=True):
        t = np.arange(int((off - on) * RATE)) / RATE
        hz = 440 * 2 ** ((pitch - 69) / 12 + cents / 1200)
        tone = sum(np.sin(2 * np.pi * k * hz * t) / k for k in (1, 2, 4))
        sound[int(on * RATE) : int(on * RATE) + len(t)] += level * np.exp(-2 * t) * tone
    return sound.astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """A violin whose table is 40 ms late, and 12 cents sharp."""
    violin = tmp_path / "mine" / "violin"
    violin.mkdir(parents=True)
    loud = (0.3, 0.3, 0.03, 0.3, 0.3, 0.3)
    soundfile.write(violin / "anna_minuet.wav", _sound(12, loud), RATE)
    rows = "".join(f"{on + 0.04:.3f},{off:.3f},{pitch}\n" for on, off, pitch in NOTES)
    (violin / "anna_minuet.csv").write_text(HEAD + rows)
    (violin / "unheard.csv").write_text("this,is,no,recording\n")
    return tmp_path / "mine"


def test_a_recording_is_cut_into_passages_that_know_whose_they_are(folder):
    every = passages(str(folder), 3.0)
    assert [p.start_s for p in every] == [0.0, 3.0, 6.0]
    assert {(p.label, p.name, p.library) for p in every} == {("violin", "violin/anna_minuet", "performance:anna")}


def test_notes_begin_where_the_sound_does_and_are_as_loud(folder):
    waveform, notes, cents = passages(str(folder), 8.0)[0].read(RATE, 8.0, random.Random(0))
    assert waveform.shape == (8 * RATE,)
    assert [n.pitch for n in notes] == [pitch for _, _, pitch in NOTES]
    for note, (on, off, _) in zip(notes, NOTES, strict=True):
        assert note.start_s == pytest.approx(on, abs=0.02)
        assert note.end_s == off
    assert notes[2].velocity < min(n.velocity for k, n in enumerate(notes) if k != 2) - 20
    assert cents == pytest.approx(12, abs=1.5)


def test_a_passage_has_its_own_notes_from_its_start(folder):
    waveform, notes, _ = Passage(folder / "violin" / "anna_minuet.wav", 3.0).read(RATE, 4.0, random.Random(0))
    assert waveform.shape == (4 * RATE,)
    assert [n.pitch for n in notes] == [74, 69]
    assert [n.start_s for n in notes] == pytest.approx([0.5, 2.0], abs=0.02)
    longer, _, _ = Passage(folder / "violin" / "anna_minuet.wav", 6.0).read(RATE, 4.0, random.Random(0))
    assert longer.shape == (4 * RATE,)
    assert not longer[2 * RATE :].any()


@pytest.mark.parametrize("cents", [-40.0, -7.0, 0.0, 25.0])
def test_the_tuning_of_a_detuned_tone_is_heard(cents):
    assert tuning_cents(_sound(cents), RATE) == pytest.approx(cents, abs=1.5)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("onset_s,offset_s\n1,2\n", "midi_pitch"),
        (HEAD + "1,2,high\n", "high"),
        (HEAD + "1,2\n", "expected a table"),
        (HEAD + "2,1,60\n", "a note from 2.0 to 1.0 s"),
        (HEAD + "1,2,200\n", "of pitch 200"),
        (HEAD + "1,inf,60\n", "expected a table"),
        (HEAD + "1,2,inf\n", "expected a table"),
        (HEAD, "has no notes"),
    ],
)
def test_a_broken_table_is_named(folder, table, said):
    path = folder / "violin" / "anna_minuet.csv"
    path.write_text(table)
    with pytest.raises(InputError, match=said) as error:
        passages(str(folder), 3.0)
    assert str(path) in str(error.value)


def test_a_grace_note_that_an_aligner_gave_no_length_is_kept(folder):
    path = folder / "violin" / "anna_minuet.csv"
    path.write_text(HEAD + "2,2,60\n2,3,62\n")
    assert read_notes(path) == [(2.0, 2.04, 60), (2.0, 3.0, 62)]


def test_a_folder_of_nothing_or_of_no_instrument_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no recording with a table"):
        passages(str(tmp_path / "none"), 3.0)
    with pytest.raises(InputError, match=r"none\.csv"):
        read_notes(tmp_path / "none.csv")
    (folder / "violin").rename(folder / "fiddle")
    with pytest.raises(InputError, match="on 'fiddle'; expected one of piano"):
        passages(str(folder), 3.0)
