"""Real recordings whose notes are known.

    PERFORMANCES/INSTRUMENT/PLAYER_PIECE.ogg     one instrument alone, named as in `INSTRUMENTS`
    PERFORMANCES/INSTRUMENT/PLAYER_PIECE.csv     onset_s, offset_s, midi_pitch of every note

The same notes can be played on any other instrument: a true source for a real target, and the other way round. The
recordings of one player on one instrument sound alike: each may tell how another is to sound.
"""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timbrel.audio.io import read_audio
from timbrel.data.recordings import SUFFIXES
from timbrel.data.scores import Note
from timbrel.errors import InputError
from timbrel.instruments import INSTRUMENTS

FRAMES_HZ = 100  # in which levels and onsets are measured
ONSET_REACH_S = 0.06
SHORTEST_S = 0.04


@dataclass(frozen=True)
class Passage:
    """Some seconds of a performance."""

    path: Path
    start_s: float

    @property
    def label(self) -> str:
        """The instrument."""
        return self.path.parent.name

    @property
    def name(self) -> str:
        return f"{self.label}/{self.path.stem}"

    @property
    def library(self) -> str:
        """The player, whose other recordings sound like this one."""
        return f"performance:{self.path.stem.split('_')[0]}"

    @property
    def licence(self) -> str:
        return "the performance's own"

    def read(self, sample_rate: int, duration_s: float, rng: random.Random) -> tuple[np.ndarray, list[Note], float]:
        """The recording, float32 [samples]; its notes, as loud as they were played; and how many cents it is sharp."""
        mono = read_audio(self.path, sample_rate=sample_rate, mono=True)[0][0]
        first, samples = round(self.start_s * sample_rate), round(duration_s * sample_rate)
        waveform = np.pad(mono[first : first + samples], (0, max(0, samples - len(mono) + first)))
        notes = [
            Note(max(0.0, on - self.start_s), min(off - self.start_s, duration_s), pitch)
            for on, off, pitch in read_notes(self.path.with_suffix(".csv"))
            if self.start_s - 0.02 <= on < self.start_s + duration_s - 0.1
        ]
        return waveform, _as_played(notes, waveform, sample_rate, rng), tuning_cents(waveform, sample_rate)


def read_notes(path: Path) -> list[tuple[float, float, int]]:
    """Onset, offset (s) and MIDI pitch of each note, by onset; an aligned grace note of no length gets `SHORTEST_S`.

    Raises:
        InputError: the file is missing, or is not such a table, or an empty one.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = sorted(_note(row) for row in csv.DictReader(file))
    except (OSError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: {error}; expected a table with the columns onset_s, offset_s, midi_pitch") from error
    if not rows:
        raise InputError(f"{path} has no notes; expected a table with the columns onset_s, offset_s, midi_pitch")
    return rows


def _note(row: dict[str, str]) -> tuple[float, float, int]:
    onset_s, offset_s, pitch = float(row["onset_s"]), float(row["offset_s"]), round(float(row["midi_pitch"]))
    if not (0 <= onset_s <= offset_s < float("inf") and 0 <= pitch <= 127):
        raise ValueError(f"there is a note from {onset_s} to {offset_s} s of pitch {pitch}")
    return onset_s, max(offset_s, onset_s + SHORTEST_S), pitch


def passages(folder: str, duration_s: float) -> list[Passage]:
    """Every passage of that length, one after the other, of the recordings that have a table of notes.

    Raises:
        InputError: there are none, a table is broken, or a folder is not named after an instrument.
    """
    every: list[Passage] = []
    for table in sorted(Path(folder).rglob("*.csv")):
        recording = next((p for suffix in SUFFIXES if (p := table.with_suffix(suffix)).exists()), None)
        if recording is None:
            continue
        if table.parent.name not in INSTRUMENTS:
            raise InputError(f"{recording} is on {table.parent.name!r}; expected one of {', '.join(INSTRUMENTS)}")
        last_s = max(offset_s for _, offset_s, _ in read_notes(table))
        starts = np.arange(0, max(last_s - 0.6 * duration_s, 1), duration_s)
        every += [Passage(recording, float(start_s)) for start_s in starts]
    if not every:
        raise InputError(
            f"{folder} holds no recording with a table of notes; expected violin/NAME.ogg and violin/NAME.csv"
        )
    return every


def _as_played(notes: list[Note], waveform: np.ndarray, sample_rate: int, rng: random.Random) -> list[Note]:
    """Onsets moved to the steepest rise nearby, velocities by the level of the moment."""
    hop = sample_rate // FRAMES_HZ
    power = (waveform[: len(waveform) // hop * hop].reshape(-1, hop) ** 2).mean(axis=1)
    level = 10 * np.log10(power + 1e-7)
    usual = np.median(level[level > level.max() - 40])
    rise = np.convolve(np.pad(level, 2, mode="edge"), [1, 1, 0, -1, -1], mode="valid")
    played = []
    for note in notes:
        frame = _onset(rise, round(note.start_s * FRAMES_HZ))
        start_s = max(0.0, min(frame / FRAMES_HZ, note.end_s - 0.04))
        louder = level[frame : frame + 15].mean() - usual if frame + 2 < len(level) else 0.0
        velocity = int(np.clip(80 + 2.2 * louder + rng.gauss(0, 2), 25, 120))
        played.append(Note(start_s, note.end_s, note.pitch, velocity))
    return sorted(played, key=lambda n: (n.start_s, n.pitch))


def _onset(rise: np.ndarray, frame: int) -> int:
    """The frame of the steepest rise within `ONSET_REACH_S`, or `frame` where the level hardly rises."""
    reach = round(ONSET_REACH_S * FRAMES_HZ)
    low = max(frame - reach, 0)
    near = rise[low : frame + reach + 1]
    return low + int(near.argmax()) if len(near) and near.max() > 12 else frame


def tuning_cents(waveform: np.ndarray, sample_rate: int) -> float:
    """How sharp a recording is against A = 440 Hz, -50 to 50 cents: the mean direction of its partials' places between
    semitones, a semitone being a full turn."""
    hz, weight = _partials(waveform, sample_rate)
    turns = np.exp(2j * np.pi * 12 * np.log2(hz / 440))
    return float(np.angle((weight * turns).sum()) / (2 * np.pi) * 100)


def _partials(waveform: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and magnitudes of the spectral peaks from 180 to 2500 Hz, of all frames together: [peaks] each."""
    size = 8192
    waveform = np.pad(waveform, (0, max(0, size - len(waveform))))
    frames = np.lib.stride_tricks.sliding_window_view(waveform, size)[:: size // 2]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1))
    hz = np.fft.rfftfreq(size, 1 / sample_rate)
    band = (hz > 180) & (hz < 2500)
    middle = spectrum[:, 1:-1]
    peak = (middle > spectrum[:, :-2]) & (middle > spectrum[:, 2:]) & band[1:-1] & (middle > 0.05 * spectrum.max())
    rows, columns = np.nonzero(peak)
    a, b, c = (np.log(spectrum[rows, columns + k] + 1e-12) for k in (0, 1, 2))
    exact = columns + 1 + 0.5 * (a - c) / (a - 2 * b + c)
    return exact * sample_rate / size, spectrum[rows, columns + 1]
