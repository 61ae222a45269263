"""Folders of recorded notes -> instruments that play scores.

    SAMPLES/INSTRUMENT/NOTE.wav     A4.wav, F#3.mp3, Bb2v5.flac, Cs5.ogg (s: sharp)

Each note is played by the recording nearest in pitch, resampled; `v` and a number tell layers of one note, from soft
to loud. What a recording holds before its note speaks is left out. A note that is held for longer than its recording
ends with it on instruments that are struck or plucked; on the others its middle goes on.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from timbrel.audio.io import read_audio
from timbrel.audio.loop import crossfade
from timbrel.data.recordings import SUFFIXES
from timbrel.data.scores import Note
from timbrel.errors import InputError
from timbrel.instruments import INSTRUMENTS

_NAME = re.compile(r"([A-Ga-g])(#|s|b)?(-?\d)(?:\s*v(\d+))?$")
_STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
LONGEST_S = 12.0  # of a recording
REACH = 6  # semitones beyond the recorded notes


def note_name(stem: str) -> tuple[int, int] | None:
    """MIDI pitch and layer (0 without one) of a file's name without its suffix; None for what names no note.

    >>> note_name("F#3v5"), note_name("A4"), note_name("loud")
    ((54, 5), (69, 0), None)
    """
    match = _NAME.fullmatch(stem.strip())
    if match is None:
        return None
    letter, accidental, octave, layer = match.groups()
    shift = {"#": 1, "s": 1, "b": -1, None: 0}[accidental]
    return 12 * (int(octave) + 1) + _STEPS[letter.lower()] + shift, int(layer or 0)


@lru_cache(maxsize=64)
def sampled_instruments(folder: str) -> tuple[str, ...]:
    """The instruments that a folder of samples holds.

    Raises:
        InputError: if it is no folder, or holds none.
    """
    root = Path(folder)
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and _files(p)) if root.is_dir() else []
    if not names:
        raise InputError(
            f"{folder} holds no samples; expected folders named after instruments, with one recorded note a file "
            "(violin/A4.wav, piano/F#3v5.mp3)"
        )
    return tuple(names)


@lru_cache(maxsize=256)
def _files(folder: Path) -> dict[int, list[Path]]:
    """Pitch -> its recordings, from soft to loud."""
    found: dict[int, list[tuple[int, Path]]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and (name := note_name(path.stem)) is not None:
            found[name[0]].append((name[1], path))
    return {pitch: [path for _, path in sorted(layers)] for pitch, layers in found.items()}


def in_reach(notes: Sequence[Note], instrument: str, folder: str) -> bool:
    """Whether nearly all notes (19 of 20) lie at most `REACH` semitones beyond those recorded."""
    pitches = _files(Path(folder, instrument))
    low, high = min(pitches) - REACH, max(pitches) + REACH
    return sum(not low <= note.pitch <= high for note in notes) <= len(notes) / 20


@lru_cache(maxsize=600)  # decoding takes longest; 2 MB for a long one
def _recording(path: Path, sample_rate: int) -> np.ndarray:
    """A recorded note from where it speaks, at most `LONGEST_S`: float32 [samples], peak 1."""
    mono = read_audio(path, sample_rate=sample_rate, mono=True)[0][0]
    peak = float(np.abs(mono).max(initial=0))
    if peak < 1e-4:
        raise InputError(f"{path} is silent; expected one recorded note")
    speaks = int(np.argmax(np.abs(mono) > 0.02 * peak))
    start = max(0, speaks - sample_rate // 200)
    return mono[start : start + int(LONGEST_S * sample_rate)] / peak


def render_samples(
    notes: Sequence[Note],
    instrument: str,
    folder: str,
    *,
    sample_rate: int = 44100,
    duration_s: float,
    seed: int = 0,
) -> np.ndarray:
    """Plays notes on one instrument of a folder of samples.

    Args:
        seed: the player: how long notes ring on, how soft ones sound, how well in tune.

    Returns:
        float32 [samples], mono, peak at most 1.

    Raises:
        InputError: the folder has no such instrument.
    """
    if instrument not in (known := sampled_instruments(folder)):
        raise InputError(f"{folder} has no {instrument!r}; it has {', '.join(known)}")
    longest_s = max((n.end_s - n.start_s for n in notes), default=0)
    player = _Player(instrument, folder, sample_rate, longest_s, np.random.default_rng(seed))
    out = np.zeros(round(duration_s * sample_rate), np.float32)
    for note in notes:
        start = round(note.start_s * sample_rate)
        if start < len(out):
            tone = player.play(note, len(out) - start)
            out[start : start + len(tone)] += tone
    return out / max(1.0, float(np.abs(out).max(initial=0)))


class _Player:
    """Plays one instrument of a folder, in a way of their own; notes are at most `longest_s` long."""

    def __init__(
        self, instrument: str, folder: str, sample_rate: int, longest_s: float, rng: np.random.Generator
    ) -> None:
        self.files, self.sample_rate, self.rng = _files(Path(folder, instrument)), sample_rate, rng
        self.pitches = np.array(sorted(self.files))
        row = INSTRUMENTS.get(instrument)
        self.sustains = row is not None and row.sustains
        self.ring_s = 0.4 * 10 ** rng.uniform(0, 1) if row is not None and row.rings_on else rng.uniform(0.04, 0.25)
        self.decibels, self.dullness = rng.uniform(15, 40), rng.uniform(0, 0.7)
        self.cents = rng.normal(0, rng.uniform(0, 8), 128)
        self.longest = round((longest_s + 5 * self.ring_s) * sample_rate)
        self.tones: dict[tuple[Path, int], np.ndarray] = {}

    def play(self, note: Note, most: int) -> np.ndarray:
        """A note with its release: float32, at most `most` samples."""
        root = int(self.pitches[np.abs(self.pitches - note.pitch).argmin()])
        layers = self.files[root]
        tone = self._tone(layers[min(note.velocity * len(layers) // 128, len(layers) - 1)], root, note.pitch)
        end = max(round((note.end_s - note.start_s) * self.sample_rate), 1)
        wanted = min(end + round(5 * self.ring_s * self.sample_rate), most)
        if wanted > len(tone) and self.sustains:
            tone = _sustained(tone, wanted, self.sample_rate, self.rng)
        tone = self._released(tone[:wanted].copy(), end)
        soft = 1 - note.velocity / 127
        if len(layers) == 1:
            tone = _dulled(tone, soft * self.dullness)
        return tone * np.float32(10 ** (-self.decibels * soft / 20))

    def _tone(self, path: Path, root: int, pitch: int) -> np.ndarray:
        """The recording of `root`, resampled to `pitch`."""
        import soxr

        if (path, pitch) not in self.tones:
            ratio = 2 ** ((pitch - root) / 12 + self.cents[pitch] / 1200)
            recording = _recording(path, self.sample_rate)[: int(self.longest * ratio) + 1]
            self.tones[path, pitch] = soxr.resample(recording, self.sample_rate * ratio, self.sample_rate)
        return self.tones[path, pitch]

    def _released(self, tone: np.ndarray, end: int) -> np.ndarray:
        """Dies away from sample `end` on."""
        after = np.arange(max(0, len(tone) - end), dtype=np.float32)
        tone[end:] *= np.exp(-after / (self.ring_s * self.sample_rate))
        fade = min(len(tone), self.sample_rate // 50)
        tone[len(tone) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        return tone


def _dulled(tone: np.ndarray, keep: float) -> np.ndarray:
    """A one-pole low pass, for a soft note of a recording that has no layer for it."""
    from scipy.signal import lfilter

    return lfilter([1 - keep], [1, -keep], tone).astype(np.float32) if keep > 0.02 else tone


def _sustained(tone: np.ndarray, samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A note [n] made longer: stretches of its middle follow each other, cross-faded where their waves agree best."""
    fade, step = sample_rate // 20, sample_rate // 50
    first, last = int(0.3 * len(tone)), int(0.8 * len(tone))
    if last - first < 4 * fade:
        return tone
    parts, length = [tone[:last]], last
    while length < samples:
        end = parts[-1][-fade:]
        rough = int(rng.integers(first, max(first + 1, (first + last) // 2 - step)))
        match = np.correlate(tone[rough : rough + step + fade], end, mode="valid")
        part = tone[rough + int(match.argmax()) : last].copy()
        part[:fade] = crossfade(end, part[:fade])
        parts[-1] = parts[-1][:-fade]
        parts.append(part)
        length += len(part) - fade
    return np.concatenate(parts)
