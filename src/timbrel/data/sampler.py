"""Folders of recorded notes -> instruments that play scores.

    SAMPLES/INSTRUMENT/NOTE.wav     A4.wav, F#3.mp3, Bb2v5.flac, Cs5.ogg (s: sharp)

Each note is played by the recording nearest in pitch, resampled; `v` and a number tell layers of one note, from soft
to loud. What a recording holds before its note speaks is left out. A note that is held for longer than its recording
ends with it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from timbrel.audio.io import read_audio
from timbrel.data.scores import Note
from timbrel.errors import InputError
from timbrel.instruments import INSTRUMENTS

_NAME = re.compile(r"([A-Ga-g])(#|s|b)?(-?\d)(?:\s*v(\d+))?$")
_STEPS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"}
LONGEST_S = 12.0  # of a recording
REACH = 6  # semitones beyond the recorded notes


def note_name(stem: str) -> tuple[int, int] | None:
    """ "F#3v5" -> (54, 5), MIDI pitch and layer (0 without one); None for what names no note."""
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
        if path.suffix.lower() in _SUFFIXES and (name := note_name(path.stem)) is not None:
            found[name[0]].append((name[1], path))
    return {pitch: [path for _, path in sorted(layers)] for pitch, layers in found.items()}


def in_reach(notes: Sequence[Note], instrument: str, folder: str) -> bool:
    """Whether nearly all notes (19 of 20) lie at most `REACH` semitones beyond those recorded."""
    pitches = _files(Path(folder, instrument))
    low, high = min(pitches) - REACH, max(pitches) + REACH
    return sum(not low <= note.pitch <= high for note in notes) <= len(notes) / 20


@lru_cache(maxsize=128)
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
    import soxr
    from scipy.signal import lfilter

    if instrument not in (known := sampled_instruments(folder)):
        raise InputError(f"{folder} has no {instrument!r}; it has {', '.join(known)}")
    files, rng = _files(Path(folder, instrument)), np.random.default_rng(seed)
    pitches = np.array(sorted(files))
    rings_on = instrument in INSTRUMENTS and INSTRUMENTS[instrument].rings_on
    ring_s = rng.uniform(0.3, 1.5) if rings_on else rng.uniform(0.04, 0.25)
    decibels, dullness = rng.uniform(15, 40), rng.uniform(0, 0.7)
    cents = rng.normal(0, rng.uniform(0, 8), 128)
    out = np.zeros(round(duration_s * sample_rate), np.float32)
    longest = round((max((n.end_s - n.start_s for n in notes), default=0) + 5 * ring_s) * sample_rate)
    played: dict[tuple[Path, int], np.ndarray] = {}
    for note in notes:
        start = round(note.start_s * sample_rate)
        if start >= len(out):
            continue
        root = int(pitches[np.abs(pitches - note.pitch).argmin()])
        layers = files[root]
        layer = layers[min(note.velocity * len(layers) // 128, len(layers) - 1)]
        if (layer, note.pitch) not in played:
            ratio = 2 ** ((note.pitch - root) / 12 + cents[note.pitch] / 1200)
            recording = _recording(layer, sample_rate)[: int(longest * ratio) + 1]
            played[layer, note.pitch] = soxr.resample(recording, sample_rate * ratio, sample_rate)
        tone = played[layer, note.pitch]
        held = max(round((note.end_s - note.start_s) * sample_rate), 1)
        tone = tone[: min(held + round(5 * ring_s * sample_rate), len(out) - start)].copy()
        after = np.arange(max(0, len(tone) - held), dtype=np.float32)
        tone[held:] *= np.exp(-after / (ring_s * sample_rate))
        fade = min(len(tone), sample_rate // 50)
        tone[len(tone) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        soft = 1 - note.velocity / 127
        if len(layers) == 1 and soft * dullness > 0.02:
            keep = soft * dullness
            tone = lfilter([1 - keep], [1, -keep], tone).astype(np.float32)
        out[start : start + len(tone)] += tone * np.float32(10 ** (-decibels * soft / 20))
    return out / max(1.0, float(np.abs(out).max(initial=0)))
