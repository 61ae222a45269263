"""Animals, weather, machines and impacts, computed: every parameter is drawn, so that no two sounds are alike."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from timbrel.data.sounds.parts import (
    Generator,
    Signal,
    decay,
    drops,
    knock,
    log_uniform,
    noise,
    phase,
    place,
    repeated,
    saw,
    sine,
    wander,
)

# animals and people ---------------------------------------------------------------------------------


def _bark(rng: Generator, n: int, rate: int) -> np.ndarray:
    """A short growling tone that rises and falls, through two formants."""
    m, hz = round(rng.uniform(0.09, 0.25) * rate), log_uniform(rng, 180, 600)
    arch = np.sin(np.pi * np.linspace(0, 1, m))
    throat = saw(hz * (0.7 + 0.5 * arch), m, rate) + rng.uniform(0.5, 1.5) * noise(rng, m, rate, 300, 6000)
    mouth = [noise(rng, 400, rate, f / 1.3, 1.3 * f) * decay(400, rate, 0.01) for f in (3 * hz, 6 * hz)]
    bark = fftconvolve(throat, mouth[0] + 0.5 * mouth[1])[:m] * arch**0.7
    return repeated(rng, n, rate, lambda: bark, (0.25, 1.2), 0.3)


def _bird(rng: Generator, n: int, rate: int) -> np.ndarray:
    centre, long_s = log_uniform(rng, 2200, 6000), rng.uniform(0.05, 0.25)
    bend, trill = rng.uniform(-0.5, 0.5), rng.choice([0.0, 0.06])

    def chirp() -> np.ndarray:
        m = round(long_s * rng.uniform(0.6, 1.4) * rate)
        way = np.linspace(-1, 1, m)
        hz = centre * rng.uniform(0.85, 1.15) * (1 + bend * way / 2 + trill * sine(60, m, rate))
        return sine(hz, m, rate) * np.cos(np.pi / 2 * way) ** 2

    return repeated(rng, n, rate, chirp, (0.09, 0.6), float(rng.choice([0.05, 0.7])))


def _cricket(rng: Generator, n: int, rate: int) -> np.ndarray:
    out = np.zeros(n)
    for _ in range(int(rng.integers(1, 4))):
        pulse = np.clip(sine(log_uniform(rng, 25, 60), n, rate), 0, None)
        rest = log_uniform(rng, 0.8, 3.5)
        chirps = phase(rest, n, rate) % 1 < rng.uniform(0.3, 0.8)
        out += rng.uniform(0.3, 1) * sine(log_uniform(rng, 3200, 6500), n, rate) * pulse * chirps
    return out


def _insect(rng: Generator, n: int, rate: int) -> np.ndarray:
    hz = log_uniform(rng, 110, 600) * np.exp(rng.uniform(0.02, 0.12) * wander(rng, n, rate, 3))
    near = np.exp(rng.uniform(0.2, 1.2) * wander(rng, n, rate, 1))
    return np.convolve(saw(hz, n, rate) ** 3, np.ones(3) / 3, "same") * near


def _heart(rng: Generator, n: int, rate: int) -> np.ndarray:
    hz, between = log_uniform(rng, 38, 80), rng.uniform(0.16, 0.32)
    beat = np.zeros(round((between + 0.3) * rate))
    place(beat, knock(rng, rate, hz, 0.18, 0.1), 0)
    place(beat, knock(rng, rate, 1.25 * hz, 0.13, 0.1), round(between * rate), rng.uniform(0.4, 0.9))
    return repeated(rng, n, rate, lambda: beat, (0.5, 1.2), 0.03)


def _steps(rng: Generator, n: int, rate: int) -> np.ndarray:
    hz, ring, noisy = log_uniform(rng, 90, 400), rng.uniform(0.05, 0.15), rng.uniform(0.3, 3)
    return repeated(
        rng, n, rate, lambda: knock(rng, rate, hz * rng.uniform(0.85, 1.15), ring, noisy), (0.3, 0.75), 0.05
    )


def _gallop(rng: Generator, n: int, rate: int) -> np.ndarray:
    hz, gap = log_uniform(rng, 250, 900), rng.uniform(0.08, 0.14)

    def stride() -> np.ndarray:
        out = np.zeros(round((2 * gap + 0.2) * rate))
        for k in range(3):
            place(out, knock(rng, rate, hz * rng.uniform(0.8, 1.2), 0.07, 0.6), round(k * gap * rate), 0.6 + 0.2 * k)
        return out

    return repeated(rng, n, rate, stride, (3.4 * gap, 4.6 * gap), 0.03)


# nature ---------------------------------------------------------------------------------------------


def _wind(rng: Generator, n: int, rate: int) -> np.ndarray:
    gusts = np.exp(rng.uniform(0.4, 1.1) * wander(rng, n, rate, 0.8))
    out = noise(rng, n, rate, 30, log_uniform(rng, 300, 1200), -1) * gusts
    for _ in range(int(rng.integers(0, 4))):  # the howl: narrow noise, whose pitch follows the gusts
        hz = log_uniform(rng, 250, 1200) * gusts ** rng.uniform(0.1, 0.4)
        out += rng.uniform(0.3, 1.5) * noise(rng, n, rate, 0, 15) * sine(hz, n, rate) * gusts
    return out


def _rain(rng: Generator, n: int, rate: int) -> np.ndarray:
    bed = noise(rng, n, rate, log_uniform(rng, 300, 1500), log_uniform(rng, 6000, 15000), -rng.uniform(0, 1))
    taps = drops(rng, n, rate, log_uniform(rng, 60, 800), log_uniform(rng, 0.003, 0.015), log_uniform(rng, 800, 3000))
    swell = np.exp(0.25 * wander(rng, n, rate, 0.5))
    return (bed * log_uniform(rng, 0.15, 1.0) + taps) * swell


def _thunder(rng: Generator, n: int, rate: int) -> np.ndarray:
    out = np.zeros(n)
    for _ in range(int(rng.integers(1, 4))):
        m = round(rng.uniform(2, 5) * rate)
        rolls = np.exp(wander(rng, m, rate, 5)) * decay(m, rate, rng.uniform(2, 6))
        place(out, noise(rng, m, rate, 20, log_uniform(rng, 120, 500), -1.5) * rolls, int(rng.integers(0, n // 2)))
        crack = noise(rng, rate // 2, rate, 60, 5000, -1) * decay(rate // 2, rate, 0.3)
        place(out, crack, int(rng.integers(0, n // 2)), rng.choice([0.0, 0.8]))
    return out


def _waves(rng: Generator, n: int, rate: int) -> np.ndarray:
    turns = phase(rng.uniform(0.12, 0.35), n, rate) + rng.random() + 0.1 * wander(rng, n, rate, 0.3)
    swell = np.clip(np.sin(2 * np.pi * turns) + 0.3 * np.sin(4 * np.pi * turns), 0, None) ** rng.uniform(1, 2) + 0.08
    foam = noise(rng, n, rate, log_uniform(rng, 800, 2500), 12000) * swell**2
    return noise(rng, n, rate, 60, log_uniform(rng, 500, 1500), -1) * swell + rng.uniform(0.2, 0.8) * foam


def _bubbling(per_second: tuple[float, float], bed: float) -> Signal:
    """Bubbles (Minnaert): short sines whose pitch rises; a brook has many over a bed of noise."""

    def signal(rng: Generator, n: int, rate: int) -> np.ndarray:
        low, count = log_uniform(rng, 250, 700), int(log_uniform(rng, *per_second) * n / rate)
        out = bed * rng.uniform(0.2, 0.8) * noise(rng, n, rate, 400, log_uniform(rng, 2500, 7000), -0.5)
        for at in rng.integers(0, n, count):
            hz = low * log_uniform(rng, 1, 4)
            m = round(rng.uniform(15, 45) / hz * rate)
            bubble = sine(hz * np.linspace(1, rng.uniform(1.05, 1.6), m), m, rate) * decay(m, rate, m / rate)
            place(out, bubble, int(at), rng.exponential(0.7))
        return out

    return signal


def _fire(rng: Generator, n: int, rate: int) -> np.ndarray:
    roar = noise(rng, n, rate, 40, log_uniform(rng, 250, 900), -1) * np.exp(0.3 * wander(rng, n, rate, 3))
    crackle = drops(rng, n, rate, log_uniform(rng, 6, 50), log_uniform(rng, 0.004, 0.012), log_uniform(rng, 900, 2500))
    return crackle + roar * log_uniform(rng, 0.05, 0.3)


# machines and impacts -------------------------------------------------------------------------------


def _engine(rng: Generator, n: int, rate: int) -> np.ndarray:
    revs = wander(rng, n, rate, 0.7) * rng.choice([0.04, 0.35])
    hz = log_uniform(rng, 22, 70) * np.exp(revs)
    turns = phase(hz, n, rate)
    fire = np.exp(-8 * (turns % 1)) * (1 + 0.3 * np.sin(np.pi * turns))
    rough = noise(rng, n, rate, 80, log_uniform(rng, 800, 3000), -0.5)
    out = fire * (1 + rng.uniform(0.3, 1.2) * rough) + rng.uniform(0.05, 0.2) * rough
    return (out - out.mean()) * np.exp(0.5 * revs)


def _train(rng: Generator, n: int, rate: int) -> np.ndarray:
    turns = phase(np.linspace(rng.uniform(1.5, 5), rng.uniform(1.5, 5), n), n, rate)
    chuff = np.exp(-5 * (turns % 1)) * (1 + 0.3 * (np.floor(turns) % 4 == 0))
    rail = noise(rng, n, rate, 50, 400, -1) * 0.4
    return noise(rng, n, rate, 150, log_uniform(rng, 1200, 5000), -0.5) * chuff + rail


def _jet(rng: Generator, n: int, rate: int) -> np.ndarray:
    t = np.linspace(-1, 1, n) - rng.uniform(-0.4, 0.4)
    near = 1 / (0.08 + t**2 * rng.uniform(0.5, 3))
    whine = sine(log_uniform(rng, 900, 3500) * (1 - 0.2 * np.tanh(3 * t)), n, rate)
    return (noise(rng, n, rate, 60, log_uniform(rng, 2000, 9000), -0.8) + rng.uniform(0.02, 0.3) * whine) * near


def _clock(rng: Generator, n: int, rate: int) -> np.ndarray:
    hz, ring = log_uniform(rng, 1200, 5000), rng.uniform(0.01, 0.04)
    sounds = [knock(rng, rate, hz * k, ring, 0.8) for k in (1, rng.uniform(0.75, 1))]
    turn = iter(range(10**6))
    return repeated(rng, n, rate, lambda: sounds[next(turn) % 2], (0.2, 1.0))


def _shot(rng: Generator, rate: int) -> np.ndarray:
    m = round(rng.uniform(0.4, 1.6) * rate)
    tail = noise(rng, m, rate, 40, log_uniform(rng, 1500, 6000), -0.8) * decay(m, rate, m / rate)
    return tail + 3 * noise(rng, m, rate, 100, 15000) * decay(m, rate, rng.uniform(0.02, 0.08))


def _shots(rng: Generator, n: int, rate: int) -> np.ndarray:
    shot = _shot(rng, rate)
    return repeated(rng, n, rate, lambda: shot, (0.5, 4.0), 0.4)


def _volley(rng: Generator, n: int, rate: int) -> np.ndarray:
    shot = _shot(rng, rate)[: round(0.3 * rate)]
    bursts = phase(rng.uniform(0.2, 0.7), n, rate) % 1 < rng.uniform(0.4, 0.9)
    return repeated(rng, n, rate, lambda: shot, (0.06, 0.13), 0.02) * bursts


def _explosion(rng: Generator, n: int, rate: int) -> np.ndarray:
    m = round(rng.uniform(1.5, 4) * rate)
    boom = noise(rng, m, rate, 20, log_uniform(rng, 150, 700), -1) * decay(m, rate, m / rate)
    debris = drops(rng, m, rate, 60, 0.02, 700) * decay(m, rate, m / rate) * rng.uniform(0, 0.3)
    blast = boom + debris + 2 * noise(rng, m, rate, 50, 9000, -0.5) * decay(m, rate, rng.uniform(0.1, 0.4))
    return repeated(rng, n, rate, lambda: blast, (2.0, 8.0), 0.2)


def _whip(rng: Generator, n: int, rate: int) -> np.ndarray:
    m = round(rng.uniform(0.15, 0.4) * rate)
    swish = _band_sweep(rng, m, rate, 400, 5000) * np.linspace(0, 0.3, m) ** 2
    crack = noise(rng, rate // 4, rate, 1500, 18000) * decay(rate // 4, rate, rng.uniform(0.03, 0.15))
    return repeated(rng, n, rate, lambda: np.append(swish, crack), (0.6, 4.0), 0.3)


def _band_sweep(rng: Generator, m: int, rate: int, low: float, high: float) -> np.ndarray:
    """Narrow noise whose middle glides."""
    hz = np.geomspace(low, high, m)
    width = noise(rng, m, rate, 0, rng.uniform(100, 500))
    return width * sine(hz, m, rate)


def _whoosh(rng: Generator, n: int, rate: int) -> np.ndarray:
    m = round(log_uniform(rng, 0.3, 2.0) * rate)
    way = np.linspace(-1, 1, m)
    peak, low = log_uniform(rng, 700, 4000), log_uniform(rng, 100, 500)
    hz = low * (peak / low) ** np.cos(np.pi / 2 * way)
    swish = noise(rng, m, rate, 0, rng.uniform(200, 900)) * sine(hz, m, rate) + 0.2 * noise(rng, m, rate, 200, 8000)
    swish *= np.cos(np.pi / 2 * way) ** rng.uniform(1, 4)
    return repeated(rng, n, rate, lambda: swish, (m / rate + 0.1, m / rate + 3), 0.3)


SCENES: dict[str, Signal] = {
    "dog": _bark,
    "bird song": _bird,
    "cricket": _cricket,
    "insect buzzing": _insect,
    "heartbeat": _heart,
    "footsteps": _steps,
    "galloping": _gallop,
    "wind": _wind,
    "rain": _rain,
    "thunder": _thunder,
    "sea waves": _waves,
    "stream": _bubbling((40, 150), 1.0),
    "bubbles": _bubbling((2, 20), 0.0),
    "fire": _fire,
    "car engine": _engine,
    "train": _train,
    "jet plane": _jet,
    "clock": _clock,
    "gunshot": _shots,
    "machine gun": _volley,
    "explosion": _explosion,
    "whip": _whip,
    "whoosh": _whoosh,
}
