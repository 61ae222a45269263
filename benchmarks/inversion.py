"""Mel inversion against librosa's on the same recording, in one run on one thread.

    python benchmarks/inversion.py [RECORDING [SOURCE]]

RECORDING (its first half minute; without it, struck chords made here) goes through a mel and back. SOURCE is the
same music on another instrument, aligned; it adds the rows "with source". Columns: log-spectral distance (LSD) to
the recording in dB; that of the frames around the joins of segments, over what it is where all is one segment; CPU
seconds a second of sound, on one thread; how many times faster than librosa.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import torch

from timbrel.audio import inversion
from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import read_audio
from timbrel.audio.mel import MelConfig, mel_spectrogram

SECONDS = 30


def chords(sample_rate: int) -> np.ndarray:
    """Decaying harmonic chords with noisy attacks, four a second, [samples]."""
    rng = np.random.default_rng(0)
    out = np.zeros((SECONDS + 2) * sample_rate)
    t = np.arange(2 * sample_rate) / sample_rate
    for start in range(0, SECONDS * sample_rate, sample_rate // 4):
        for pitch in rng.integers(50, 85, 2):
            hz = 440 * 2 ** ((pitch - 69) / 12)
            note = 0.1 * rng.standard_normal(len(t)) * np.exp(-100 * t)
            for k in range(1, int(min(12, sample_rate / 2 / hz))):
                note += np.sin(2 * np.pi * k * hz * t + rng.uniform(0, 6)) / k * np.exp(-(1 + k) * t)
            out[start : start + len(t)] += rng.uniform(0.2, 1) * note
    out = out[: SECONDS * sample_rate]
    return (0.9 * out / np.abs(out).max()).astype(np.float32)


def load(path: str | None, sample_rate: int) -> np.ndarray:
    if path is None:
        return chords(sample_rate)
    return read_audio(Path(path), sample_rate=sample_rate, mono=True)[0][0, : SECONDS * sample_rate]


def lsd_frames(target: np.ndarray, got: np.ndarray, config: MelConfig) -> np.ndarray:
    """dB of each frame: mel bands against the clip's own maximum, floor 80 dB below; RMS over the bands."""

    def db(waveform: np.ndarray) -> np.ndarray:
        n_mels = 128 if config.sample_rate <= 22050 else 160
        power = librosa.feature.melspectrogram(
            y=waveform,
            sr=config.sample_rate,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            n_mels=n_mels,
        )
        return librosa.power_to_db(power, ref=np.max, top_db=80)

    return np.sqrt(((db(target) - db(got)) ** 2).mean(0))


def main(recording: str | None = None, source: str | None = None) -> None:
    torch.set_num_threads(1)
    small = {"sample_rate": 22050, "n_fft": 2048, "hop_length": 512}
    reports = MelConfig(**small, n_mels=128, norm="slaney")
    rows = [("librosa, 32 iterations", reports, False)]
    for config in (reports, MelConfig(**small), MelConfig()):
        rows += [("timbrel", config, False)] + [("timbrel, with source", config, True)] * (source is not None)
    print(f"{'':24}{'Hz':>6}{'bands':>7}{'LSD dB':>8}{'at joins':>10}{'CPU s/s':>9}{'times':>7}")
    librosa_cost, segment = 0.0, inversion.SEGMENT
    for name, config, with_source in rows:
        rate = config.sample_rate
        target = load(recording, rate)
        mel = mel_spectrogram(torch.from_numpy(target)[None, None], config)
        given = torch.from_numpy(load(source, rate))[: len(target)] if with_source else None
        if given is not None:
            given = torch.nn.functional.pad(given, (0, len(target) - len(given)))[None, None]

        def ours() -> np.ndarray:
            return invert_mel(mel, config, length=len(target), source=given)[0, 0].numpy()  # noqa: B023

        def theirs() -> np.ndarray:
            power = 10 ** (mel[0, 0].numpy() / 10) * (config.n_fft / 4) ** 2  # noqa: B023
            return librosa.feature.inverse.mel_to_audio(
                power,
                sr=rate,  # noqa: B023
                n_fft=config.n_fft,  # noqa: B023
                hop_length=config.hop_length,  # noqa: B023
                n_iter=32,
                length=len(target),  # noqa: B023
            )

        invert: Callable[[], np.ndarray] = theirs if name.startswith("librosa") else ours
        got = invert()  # the first call also fills caches
        costs = []
        for _ in range(1 if invert is theirs else 3):
            start = time.process_time()
            invert()
            costs.append(time.process_time() - start)
        cost = min(costs) / (len(target) / rate)
        librosa_cost = librosa_cost or cost
        frames = lsd_frames(target, got, config)
        seams = ""
        if invert is ours:
            joins = np.zeros(len(frames), bool)
            for join in range(segment + 1, len(frames), segment):  # where four frames share a sample
                joins[join - 1 : join + 3] = True
            inversion.SEGMENT = len(frames)
            whole = lsd_frames(target, ours(), config)
            inversion.SEGMENT = segment
            seams = f"{frames[joins].mean() / whole[joins].mean():.2f}"
        print(
            f"{name:24}{rate:6}{config.n_mels:7}{frames.mean():8.2f}{seams:>10}{cost:9.4f}{librosa_cost / cost:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
