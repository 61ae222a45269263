"""What real recordings have and renderings lack, one thing at a time.

A variation of the performance (rubato, legato, dynamics) changes a score; one of the recording (room, noise, codec)
changes a waveform. All are proxies: no microphone was there.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from timbrel.data.scores import Note
from timbrel.experiments.benchmark.cases import SAMPLE_RATE

Score = Sequence[Note]
Rng = np.random.Generator


# --- of the performance


def rubato(score: Score, rng: Rng) -> list[Note]:
    """Tempo breathes by up to 15 %."""
    rate, phase = rng.uniform(0.15, 0.35), rng.uniform(0, 6)

    def when(s: float) -> float:
        return s + 0.15 / (2 * np.pi * rate) * (np.sin(2 * np.pi * rate * s + phase) - np.sin(phase))

    return [replace(n, start_s=max(0.0, when(n.start_s)), end_s=max(0.05, when(n.end_s))) for n in score]


def legato(score: Score, rng: Rng) -> list[Note]:
    """Each note is held until 0.1 s into what follows."""
    starts = np.unique([n.start_s for n in score])
    after = {n.start_s: starts[starts > n.start_s + 0.01] for n in score}
    return [replace(n, end_s=max(n.end_s, float(after[n.start_s][:1].sum()) + 0.1)) for n in score]


def dynamics(score: Score, rng: Rng) -> list[Note]:
    """From pianissimo to fortissimo, note by note."""
    return [replace(n, velocity=int(rng.integers(35, 125))) for n in score]


def swell(score: Score, rng: Rng) -> list[Note]:
    """A crescendo from pianissimo to fortissimo, or a diminuendo."""
    place = np.array([n.start_s for n in score]) / max(1e-9, *(n.start_s for n in score))
    place = place if rng.random() < 0.5 else 1 - place
    return [replace(n, velocity=int(30 + 90 * p)) for n, p in zip(score, place, strict=True)]


def loose(score: Score, rng: Rng) -> list[Note]:
    """Chords that are not struck at once: 15 ms of standard deviation."""
    moves = rng.normal(0, 0.015, len(score))
    return [replace(n, start_s=max(0.0, n.start_s + m), end_s=n.end_s + m) for n, m in zip(score, moves, strict=True)]


# --- of the recording


def room(x: NDArray, rng: Rng) -> NDArray:
    """Image sources of a shoebox (Allen & Berkley 1979) of some 6 x 5 x 3 m, players and microphone anywhere in it."""
    from scipy.signal import oaconvolve

    size = np.array([6.0, 5.0, 3.0]) * rng.uniform(0.8, 1.6, 3)
    player, microphone = (size * rng.uniform(0.2, 0.8, 3) for _ in range(2))
    wall = rng.uniform(0.75, 0.9)  # amplitude that a wall gives back
    order = np.arange(-12, 13)
    grid = np.stack(np.meshgrid(order, order, order, indexing="ij"), axis=-1).reshape(-1, 3)
    image = np.where(grid % 2 == 0, grid * size + player, (grid + 1) * size - player)
    distance = np.linalg.norm(image - microphone, axis=1)
    response = np.zeros(SAMPLE_RATE)
    at = np.round((distance - distance.min()) / 343 * SAMPLE_RATE).astype(int)
    near = at < len(response)
    sign = rng.choice([-1, 1], len(at))  # scattering: without it image sources ring
    sign[distance == distance.min()] = 1
    np.add.at(response, at[near], (sign * wall ** np.abs(grid).sum(axis=1) / distance)[near])
    return oaconvolve(x, response)[: len(x)]


def noise(x: NDArray, rng: Rng) -> NDArray:
    """Hiss and hum 30 dB below the music."""
    pink = np.fft.rfft(rng.standard_normal(len(x)))
    pink /= np.sqrt(np.maximum(np.arange(len(pink)), 20))
    mains = np.array([[1], [2], [3], [5]])
    hum = (np.sin(2 * np.pi * 50 * mains * np.arange(len(x)) / SAMPLE_RATE) / mains).sum(axis=0)
    return x + 10 ** (-30 / 20) * rms(x) * (unit(np.fft.irfft(pink, len(x))) + 0.5 * unit(hum))


def telephone(x: NDArray, rng: Rng) -> NDArray:
    """A small microphone: nothing below 180 Hz, little above 6 kHz, a bump at 2.5 kHz."""
    from scipy.signal import butter, sosfilt

    low = sosfilt(butter(2, [180, 6000], "bandpass", fs=SAMPLE_RATE, output="sos"), x)
    return low + 0.7 * sosfilt(butter(1, [1800, 3300], "bandpass", fs=SAMPLE_RATE, output="sos"), x)


def compression(x: NDArray, rng: Rng) -> NDArray:
    """4 to 1 above -30 dB of the loudest, 10 ms to turn down and 200 ms to recover, as recorders' automatic gain."""
    hop = 441
    level = np.abs(np.pad(x, (0, -len(x) % hop))).reshape(-1, hop).max(axis=1) / np.abs(x).max()
    gain = (np.maximum(level, 10**-1.5) / 10**-1.5) ** (1 / 4 - 1)
    for i in range(1, len(gain)):
        gain[i] = min(gain[i], gain[i - 1] + (1 - gain[i - 1]) * 0.05)
    return x * np.interp(np.arange(len(x)) / hop, np.arange(len(gain)), gain)


def mp3(x: NDArray, rng: Rng) -> NDArray:
    """A low-quality mp3 file."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, 0.5 * x / np.abs(x).max(), SAMPLE_RATE, format="MP3", compression_level=0.95)
    file.seek(0)
    decoded = soundfile.read(file)[0]
    return np.pad(decoded[: len(x)], (0, max(0, len(x) - len(decoded))))


Changes = tuple[Callable[[NDArray, Rng], NDArray], ...]


@dataclass(frozen=True)
class Variation:
    """What is done to a source: to its performance, by the player (cents of vibrato), to its recording, in order. Or to
    the recording of the style clip."""

    title: str
    performance: tuple[Callable[[Score, Rng], list[Note]], ...] = ()
    vibrato_cents: float = 0.0
    recording: Changes = ()
    clip: Changes = ()
    style_too: bool = False


_ALL = (compression, telephone, room, noise, mp3)
VARIATIONS = {
    "clean": Variation("as the benchmark"),
    "rubato": Variation("tempo breathes", (rubato,)),
    "legato": Variation("notes overlap", (legato,)),
    "dynamics": Variation("loud and soft notes", (dynamics,)),
    "swell": Variation("a crescendo or diminuendo", (swell,)),
    "loose": Variation("chords not quite together", (loose,)),
    "vibrato": Variation("vibrato of 35 cents", vibrato_cents=35),
    "compression": Variation("automatic gain", recording=(compression,)),
    "telephone": Variation("a small microphone", recording=(telephone,)),
    "room": Variation("a room", recording=(room,)),
    "noise": Variation("hiss and hum at -30 dB", recording=(noise,)),
    "mp3": Variation("a poor mp3", recording=(mp3,)),
    "all": Variation("all of these", (rubato, legato, dynamics, loose), 20, _ALL),
    "all-style": Variation("all of these; clip and answer in another room", (rubato, legato, dynamics, loose), 20, _ALL,
                           style_too=True),
    "clip-room": Variation("the clip in a room", clip=(room,)),
    "clip-noise": Variation("the clip with hiss and hum", clip=(noise,)),
    "clip-all": Variation("the clip with all of these", clip=_ALL),
}  # fmt: skip


def recorded(x: NDArray, changes: Changes, rng: Rng) -> NDArray:
    """A waveform [samples] with the changes of a recording, RMS 1."""
    for change in changes:
        x = unit(change(x, rng))
    return x


def rms(x: NDArray) -> float:
    return float(np.sqrt((x**2).mean())) + 1e-12


def unit(x: NDArray) -> NDArray:
    """A waveform at RMS 1."""
    return x / rms(x)
