"""Electronic signals, noises and alarms, computed: every parameter is drawn, so that no two sounds are alike."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from scipy.signal import fftconvolve

from timbrel.data.sounds.maker import Maker, in_a_room, seconds
from timbrel.data.sounds.parts import (
    Generator,
    Signal,
    Wave,
    decay,
    drops,
    faded,
    gate,
    knock,
    log_uniform,
    modal,
    noise,
    phase,
    place,
    repeated,
    saw,
    sine,
    square,
    wander,
)
from timbrel.data.sounds.scenes import SCENES


def _steady(wave: Wave, low: float, high: float) -> Signal:
    """A wave of one frequency, at times of a few after each other."""

    def signal(rng: Generator, n: int, rate: int) -> np.ndarray:
        count = int(rng.choice([1, 1, 2, 3, 5]))
        hz = np.repeat([log_uniform(rng, low, high) for _ in range(count)], -(-n // count))[:n]
        return wave(hz, n, rate) * gate(rng, n, rate)

    return signal


def _sweep(rng: Generator, n: int, rate: int) -> np.ndarray:
    low, high = log_uniform(rng, 40, 600), log_uniform(rng, 2000, 14000)
    ends = (low, high) if rng.random() < 0.6 else (high, low)
    count = int(rng.choice([1, 1, 2, 4]))
    way = np.linspace(0, 1, n // count)
    if rng.random() < 0.3:
        way = 1 - np.abs(2 * way - 1)
    one = ends[0] * (ends[1] / ends[0]) ** way if rng.random() < 0.7 else ends[0] + (ends[1] - ends[0]) * way
    return faded(sine(np.resize(one, n), n, rate), rate)


def _coloured(slope: float) -> Signal:
    return lambda rng, n, rate: noise(rng, n, rate, 0, 1e9, slope + rng.uniform(-0.2, 0.2)) * gate(rng, n, rate)


def _pulses(rng: Generator, n: int, rate: int) -> np.ndarray:
    hz = log_uniform(rng, 4, 60) * np.exp(wander(rng, n, rate, 0.5) * rng.choice([0.0, 0.3]))
    pulse = noise(rng, 64, rate, 100, log_uniform(rng, 2000, 15000)) * decay(64, rate, 64 / rate)
    return fftconvolve(np.diff(np.floor(phase(hz, n, rate)), prepend=0.0), pulse)[:n]


def _clicks(rng: Generator, n: int, rate: int) -> np.ndarray:
    out, length_s = np.zeros(n), log_uniform(rng, 0.002, 0.02)
    for at in rng.integers(0, n, int(rng.integers(1, 8))):
        place(out, knock(rng, rate, log_uniform(rng, 800, 5000), length_s, 1.0), int(at), rng.uniform(0.4, 1))
    return out


def _hum(rng: Generator, n: int, rate: int) -> np.ndarray:
    hz = float(rng.choice([50, 60])) * rng.uniform(0.995, 1.005)
    orders = np.arange(1, int(rng.integers(6, 40)))
    gains = (
        rng.exponential(1, len(orders)) * np.where(orders % 2, rng.uniform(0.1, 1), 1) / orders ** rng.uniform(0.3, 1.5)
    )
    out = sum(gain * sine(hz * k, n, rate) for k, gain in zip(orders, gains, strict=True))
    return out * (1 + 0.1 * wander(rng, n, rate, 2)) + rng.uniform(0, 0.05) * noise(rng, n, rate)


def _static(rng: Generator, n: int, rate: int) -> np.ndarray:
    crackle = drops(rng, n, rate, log_uniform(rng, 5, 200), log_uniform(rng, 0.001, 0.004), log_uniform(rng, 600, 3000))
    hiss = noise(rng, n, rate, log_uniform(rng, 100, 2000), log_uniform(rng, 5000, 16000)) * gate(rng, n, rate)
    return crackle + hiss * log_uniform(rng, 0.02, 0.5)


def _blips(rng: Generator, n: int, rate: int) -> np.ndarray:
    wave, long_s = (sine, square)[int(rng.random() < 0.5)], log_uniform(rng, 0.03, 0.2)
    scale = log_uniform(rng, 300, 1500) * 2 ** (rng.integers(0, 19, 5) / 12)

    def blip() -> np.ndarray:
        m = round(long_s * rate)
        hz = float(rng.choice(scale)) * np.geomspace(1, rng.choice([0.7, 1.0, 1.5]), m)
        return faded(wave(hz, m, rate) * decay(m, rate, 2 * long_s), rate)

    return repeated(rng, n, rate, blip, (1.1 * long_s, 5 * long_s), float(rng.choice([0.0, 0.4])))


def _laser(rng: Generator, n: int, rate: int) -> np.ndarray:
    m = round(rng.uniform(0.12, 0.6) * rate)
    hz = np.geomspace(log_uniform(rng, 1500, 8000), log_uniform(rng, 60, 400), m)
    wave = (sine, square, saw)[int(rng.integers(3))](hz, m, rate)
    return repeated(rng, n, rate, lambda: faded(wave * decay(m, rate, m / rate * 2), rate), (0.2, 2), 0.3)


def _drone(rng: Generator, n: int, rate: int) -> np.ndarray:
    hz, out = log_uniform(rng, 40, 130), np.zeros(n)
    for ratio in rng.choice([1, 1, 1.5, 2, 3, 4, 5, 6, 8], 6):
        out += sine(hz * ratio * rng.uniform(0.99, 1.01), n, rate) * np.exp(wander(rng, n, rate, 0.4)) / ratio
    out += rng.uniform(0, 0.3) * noise(rng, n, rate, hz, 6 * hz) * np.exp(0.5 * wander(rng, n, rate, 0.5))
    return faded(out, rate)


# alarms ---------------------------------------------------------------------------------------------


def _alarm(rng: Generator, n: int, rate: int) -> np.ndarray:
    hz, wave = log_uniform(rng, 700, 3500), (sine, square)[int(rng.random() < 0.6)]
    long, count = rng.uniform(0.06, 0.3), int(rng.integers(1, 5))
    m = round(long * rate)
    beep = np.tile(np.append(faded(np.asarray(wave(hz, m, rate)), rate), np.zeros(m)), count)
    return repeated(rng, n, rate, lambda: beep, (2 * long * count + 0.02, 2 * long * count + 0.8))


def _siren(rng: Generator, n: int, rate: int) -> np.ndarray:
    turns, low = phase(log_uniform(rng, 0.15, 4), n, rate) + rng.random(), log_uniform(rng, 350, 700)
    ratio, kind = rng.uniform(1.3, 2.5), rng.random()
    way = (1 - np.cos(2 * np.pi * turns)) / 2 if kind < 0.6 else (turns * 1.0 % 1 < 0.5).astype(float)
    hz = low * ratio**way
    return sum(sine(hz * k, n, rate) / k ** rng.uniform(0.8, 2) for k in range(1, 7) if low * ratio * k < rate / 2.2)


def _bell(rng: Generator, n: int, rate: int) -> np.ndarray:
    church = (0.5, 1, 1.19, 1.5, 2, 2.52, 2.66, 3.01, 4.1, 5.4)
    hand = (1, 2.0, 3.01, 4.17, 5.43, 6.8)
    big = rng.random() < 0.6
    hz, ring = (
        (log_uniform(rng, 180, 900), rng.uniform(2, 7)) if big else (log_uniform(rng, 900, 3000), rng.uniform(0.5, 2))
    )
    bell = modal(rng, rate, hz, church if big else hand, ring)
    return repeated(rng, n, rate, lambda: bell, (0.9, 4.0) if big else (0.1, 2.0), 0.05)


def _chimes(rng: Generator, n: int, rate: int) -> np.ndarray:
    bars = [modal(rng, rate, log_uniform(rng, 900, 4500), (1, 2.76, 5.4), rng.uniform(0.8, 2.5)) for _ in range(6)]
    return repeated(rng, n, rate, lambda: bars[int(rng.integers(6))], (0.08, 0.5), 0.8)


def _horn(rng: Generator, n: int, rate: int) -> np.ndarray:
    m, hz = round(rng.uniform(0.15, 1.5) * rate), log_uniform(rng, 250, 520)
    tones = saw(hz, m, rate) + saw(hz * rng.uniform(1.18, 1.28), m, rate)
    honk = faded(np.convolve(tones, np.ones(4) / 4, "same"), rate)
    return repeated(rng, n, rate, lambda: honk, (m / rate + 0.1, m / rate + 2.5), 0.1)


def _dtmf(rng: Generator, n: int, rate: int) -> np.ndarray:
    long_s = rng.uniform(0.06, 0.3)
    m = round(long_s * rate)

    def key() -> np.ndarray:
        low, high = rng.choice([697, 770, 852, 941]), rng.choice([1209, 1336, 1477])
        return faded(sine(low, m, rate) + sine(high, m, rate), rate)

    return repeated(rng, n, rate, key, (1.3 * long_s, 3 * long_s), 0.1)


def _morse(rng: Generator, n: int, rate: int) -> np.ndarray:
    unit, out, at = round(rng.uniform(0.04, 0.12) * rate), np.zeros(n), 0
    while at < n:
        for _ in range(int(rng.integers(1, 5))):
            length = unit * int(rng.choice([1, 3]))
            place(out, faded(np.ones(length), rate), at)
            at += length + unit
        at += unit * int(rng.choice([2, 2, 6]))
    return out * sine(log_uniform(rng, 400, 1100), n, rate) + rng.choice([0.0, 0.02]) * noise(rng, n, rate)


SIGNALS: dict[str, Signal] = {
    "sine wave": _steady(sine, 100, 8000),
    "square wave": _steady(square, 50, 3000),
    "sawtooth wave": _steady(saw, 50, 3000),
    "sine sweep": _sweep,
    "white noise": _coloured(0.0),
    "pink noise": _coloured(-1.0),
    "brown noise": _coloured(-2.0),
    "pulse train": _pulses,
    "click": _clicks,
    "mains hum": _hum,
    "static": _static,
    "electronic blip": _blips,
    "laser": _laser,
    "drone": _drone,
    "alarm clock": _alarm,
    "siren": _siren,
    "bell": _bell,
    "wind chimes": _chimes,
    "car horn": _horn,
    "dial tones": _dtmf,
    "morse code": _morse,
    **SCENES,
}
IN_ROOMS = frozenset(("bell", "alarm clock", "footsteps", "clock", "gunshot", "whip", "car horn", "whoosh", "dog"))
LICENCE = "computed by timbrel (MIT)"


def signal_makers() -> Iterator[Maker]:
    """A maker for each of `SIGNALS`."""
    for label in SIGNALS:
        yield Maker(label, "signals", LICENCE, functools.partial(_make, label))


def _make(label: str, rng: Generator, rate: int) -> np.ndarray:
    sound = SIGNALS[label](rng, round(seconds(rng) * rate), rate)
    return in_a_room(sound, rng, rate) if label in IN_ROOMS else sound.astype(np.float32)
