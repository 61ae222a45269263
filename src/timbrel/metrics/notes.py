"""Does a recording still play the notes of its score?

Spotify's basic-pitch (Bittner et al. 2022, *A Lightweight Instrument-Agnostic Model for Polyphonic Note
Transcription*) writes down the notes. A note is right when its pitch (within half a semitone) and its onset
(within 50 ms) agree with a note of the score, each used once; the ends of notes do not count. The F1 of a flawless
recording is well below 1, for the transcriber errs: compare with the F1 of the true answer.

The network is `nmp.onnx` inside the basic-pitch package, run by onnxruntime. The package itself is never
imported: it would bring TensorFlow. The activations become notes as in its `note_creation.py`, with its
default settings.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import argrelmax

from timbrel.errors import InputError, MissingDependencyError
from timbrel.metrics import installed_file, require
from timbrel.metrics.spectral import SAMPLE_RATE

ONSET_TOLERANCE_S = 0.05

HOP = 256
WINDOW = 43844  # samples that the network sees at once
OVERLAP = 30  # frames shared by neighbouring windows; half of them are dropped on each side
FRAMES = 172  # frames that the network gives for a window
LOWEST_PITCH = 21
ONSET_THRESHOLD, FRAME_THRESHOLD = 0.5, 0.3
MIN_FRAMES = 11  # shorter notes are dropped (128 ms)
PATIENCE = 11  # frames under the threshold that end a note


MISSING = "basic-pitch is not installed: pip install --no-deps basic-pitch"


def available() -> bool:
    """Whether basic-pitch is installed."""
    return _model_path() is not None


def _model_path() -> Path | None:
    return installed_file("basic_pitch", "saved_models", "icassp_2022", "nmp.onnx")


@lru_cache(maxsize=1)
def _network() -> Any:
    path = _model_path()
    if path is None:
        raise MissingDependencyError(f"{MISSING} (the other packages it asks for are not needed)")
    onnxruntime = require("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def activations(waveform: NDArray) -> tuple[NDArray, NDArray]:
    """Note and onset activations in [0, 1], each [frames, 88], of a prepared waveform [samples] at 22,050 Hz.

    Raises:
        MissingDependencyError: if basic-pitch or onnxruntime is not installed.
    """
    network = _network()
    padded = np.concatenate([np.zeros(OVERLAP * HOP // 2, np.float32), waveform.astype(np.float32)])
    starts = range(0, len(padded), WINDOW - OVERLAP * HOP)
    windows = np.stack([np.pad(padded[s : s + WINDOW], (0, max(0, s + WINDOW - len(padded)))) for s in starts])
    name = network.get_inputs()[0].name
    outputs = network.run(["StatefulPartitionedCall:1", "StatefulPartitionedCall:2"], {name: windows[..., None]})
    half, frames = OVERLAP // 2, len(waveform) * (SAMPLE_RATE // HOP) // SAMPLE_RATE
    note, onset = (output[:, half:-half].reshape(-1, output.shape[-1])[:frames] for output in outputs)
    return note, onset


def decode(frames: NDArray, onsets: NDArray) -> NDArray:
    """Activations, each [frames, 88], -> notes [notes, 4] of start_s, end_s, MIDI pitch and amplitude in [0,
    1].

    A note starts at each peak of the onsets (or of a sudden rise of the frames) and lasts while its frames
    stay over the threshold; dips shorter than `PATIENCE` do not end it. The remaining energy becomes notes
    without an onset, the loudest first.
    """
    if len(frames) <= MIN_FRAMES:
        return np.zeros((0, 4))
    last = len(frames) - 1
    energy = frames.astype(np.float64)
    rows = []

    def take(start: int, end: int, pitch: int) -> None:
        rows.append((start, end, pitch, frames[start:end, pitch].mean()))

    def neighbours(pitch: int) -> slice:
        return slice(max(pitch - 1, 0), pitch + 2)

    onsets = _with_sudden_rises(onsets.astype(np.float64), energy)
    times, pitches = argrelmax(onsets, axis=0)
    peaks = sorted((t, p) for t, p in zip(times, pitches, strict=True) if onsets[t, p] >= ONSET_THRESHOLD)
    for start, pitch in reversed(peaks):
        end, quiet = start + 1, 0
        while end < last and quiet < PATIENCE:
            quiet = quiet + 1 if energy[end, pitch] < FRAME_THRESHOLD else 0
            end += 1
        end -= quiet
        if end - start > MIN_FRAMES:
            energy[start:end, neighbours(pitch)] = 0
            take(start, end, pitch)

    def follow(middle: int, pitch: int, step: int, stop: int) -> int:
        """The last frame of the note on one side of its loudest one; its energy is used up."""
        i, quiet = middle + step, 0
        while i * step < stop * step and quiet < PATIENCE:
            quiet = quiet + 1 if energy[i, pitch] < FRAME_THRESHOLD else 0
            energy[i, neighbours(pitch)] = 0
            i += step
        return i - step * (1 + quiet)

    while energy.max() > FRAME_THRESHOLD:
        middle, pitch = (int(i) for i in np.unravel_index(energy.argmax(), energy.shape))
        energy[middle, pitch] = 0
        end, start = follow(middle, pitch, 1, last), follow(middle, pitch, -1, 0)
        if end - start > MIN_FRAMES:
            take(start, end, pitch)

    notes = np.array(sorted(rows), dtype=np.float64).reshape(-1, 4)
    notes[:, :2] = _seconds(notes[:, :2])
    notes[:, 2] += LOWEST_PITCH
    return notes


def _with_sudden_rises(onsets: NDArray, frames: NDArray) -> NDArray:
    """The larger of the onsets and the rise of the frames (over one and two of them), scaled alike."""
    rise = np.zeros_like(frames)
    rise[2:] = np.minimum(frames[2:] - frames[1:-1], frames[2:] - frames[:-2]).clip(0)
    return np.maximum(onsets, rise * (onsets.max() / max(rise.max(), 1e-12)))


def _seconds(frames: NDArray) -> NDArray:
    """Frame numbers -> seconds; each window of the network runs a little over, which is taken back."""
    drift = HOP / SAMPLE_RATE * (FRAMES - WINDOW / HOP) + 0.0018
    return frames * HOP / SAMPLE_RATE - drift * (frames // FRAMES)


def transcribe(waveform: NDArray) -> NDArray:
    """Notes [notes, 4] (start_s, end_s, MIDI pitch, amplitude) that basic-pitch hears in a prepared waveform
    [samples].

    Raises:
        MissingDependencyError: if basic-pitch or onnxruntime is not installed.
    """
    return decode(*activations(waveform))


def validate(reference: NDArray, estimated: NDArray) -> None:
    """Both are [notes, 3 or more]: start_s, end_s, MIDI pitch.

    Raises:
        InputError: if not, or if a note ends before it starts.
    """
    for notes in (reference, estimated):
        if notes.ndim != 2 or notes.shape[1] < 3:
            raise InputError(f"notes have shape {notes.shape}; expected [notes, 3]: start_s, end_s, MIDI pitch")
        if (notes[:, 1] <= notes[:, 0]).any():
            raise InputError("a note ends before it starts; expected end_s > start_s in every row")


def note_f1(reference: NDArray, estimated: NDArray, *, onset_tolerance_s: float = ONSET_TOLERANCE_S) -> float:
    """F1 in [0, 1] of two note lists [notes, 3 or more]; 0 when either is empty.

    Raises:
        MissingDependencyError: if mir_eval is not installed.
    """
    validate(reference, estimated)
    if not len(reference) or not len(estimated):
        return 0.0
    transcription = require("mir_eval.transcription")
    hz = [440 * 2 ** ((notes[:, 2] - 69) / 12) for notes in (reference, estimated)]
    _, _, f1, _ = transcription.precision_recall_f1_overlap(
        reference[:, :2],
        hz[0],
        estimated[:, :2],
        hz[1],
        onset_tolerance=onset_tolerance_s,
        pitch_tolerance=50.0,
        offset_ratio=None,
    )
    return float(f1)


def evaluate(reference: NDArray, waveform: NDArray) -> dict[str, float]:
    """Note F1 of a prepared waveform [samples] against the notes [notes, 3 or more] of its score."""
    return {"note_f1": note_f1(reference, transcribe(waveform))}
