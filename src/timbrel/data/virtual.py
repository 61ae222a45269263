"""Instruments that do not exist: additive synthesis with random spectrum, envelope, inharmonicity and breath.

Sample libraries are few and share samples; a model that hears a hundred invented timbres beside them has to take
the timbre from the reference clip, because no instrument's name tells it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timbrel.data.scores import Note


def render_virtual(
    notes: Sequence[Note], instrument_seed: int, *, sample_rate: int = 44100, duration_s: float
) -> np.ndarray:
    """Plays notes on invented instrument number `instrument_seed`.

    Returns:
        float32 [samples], mono, peak at most 1.
    """
    rng = np.random.default_rng(instrument_seed)
    struck = rng.random() < 0.55
    tilt, odd = rng.uniform(0.5, 2.0), rng.choice([1.0, 1.0, rng.uniform(0.05, 0.6)])
    ripple = rng.normal(0, rng.uniform(1, 6), size=64)
    formants = [(rng.uniform(5, 9), rng.uniform(0.15, 0.8), rng.uniform(-10, 14)) for _ in range(4)]
    inharmonicity = rng.choice([0.0, 10 ** rng.uniform(-5, -3.3)]) if struck else 0.0
    decay_s, pitch_decay, harmonic_decay = (
        np.exp(rng.uniform(-1.2, 1.6)),
        rng.uniform(0, 0.9),
        rng.uniform(0, 0.9),
    )
    attack_s = np.exp(rng.uniform(-6.5, -4.5) if struck else rng.uniform(-4.5, -2.2))
    release_s, velocity_tilt = np.exp(rng.uniform(-3.5, -0.7)), rng.uniform(0, 1.0)
    breath, knock = 10 ** rng.uniform(-3.5, -1.6), 10 ** rng.uniform(-3, -0.8)
    vibrato_cents = 0.0 if struck else rng.choice([0.0, rng.uniform(5, 35)])
    vibrato_hz, tremolo = rng.uniform(4, 7), 0.0 if struck else rng.choice([0.0, rng.uniform(0, 0.3)])

    out = np.zeros(round(duration_s * sample_rate) + 1, np.float32)
    note_rng = np.random.default_rng((instrument_seed, len(notes)))
    for note in notes:
        f0 = 440.0 * 2 ** ((note.pitch - 69 + note_rng.normal(0, 0.03)) / 12)
        count = int(min(28, 0.45 * sample_rate / f0))
        h = np.arange(1, count + 1)
        frequency = f0 * h * np.sqrt(1 + inharmonicity * h**2)
        level_db = -20 * (tilt + velocity_tilt * (1 - note.velocity / 100)) * np.log10(h) + ripple[:count]
        level_db += sum(gain * np.exp(-(((np.log(frequency) - at) / width) ** 2)) for at, width, gain in formants)
        level = 10 ** (level_db / 20) * np.where(h % 2 == 0, odd, 1.0) * (frequency < 0.47 * sample_rate)
        level *= (note.velocity / 127) ** 1.5 / np.sqrt((level**2).sum() + 1e-12)
        held_s = max(note.end_s - note.start_s, 0.05)
        seconds = min(held_s + 4 * release_s, duration_s - note.start_s, 8.0)
        samples = int(seconds * sample_rate)
        start = round(note.start_s * sample_rate)
        if samples <= 0:
            continue
        t = np.arange(samples, dtype=np.float32) / sample_rate
        envelope = np.minimum(t / attack_s, 1) * np.exp(-np.maximum(t - held_s, 0) / release_s)
        envelope *= 1 + tremolo * np.sin(2 * np.pi * vibrato_hz * t)
        bend = vibrato_cents / 1200 * np.log(2) / (2 * np.pi * vibrato_hz) * np.sin(2 * np.pi * vibrato_hz * t)
        phase = ((t + bend) * 2 * np.pi).astype(np.float32)
        tone = np.zeros(samples, np.float32)
        for k in range(count):
            if level[k] < 1e-4:
                continue
            partial = np.sin(phase * np.float32(frequency[k]) + np.float32(note_rng.uniform(0, 6.28)))
            if struck:
                rate = 1 / (decay_s * (f0 / 440) ** -pitch_decay * (k + 1) ** -harmonic_decay)
                partial *= np.exp(-t * np.float32(rate))
            tone += np.float32(level[k]) * partial
        noise = note_rng.standard_normal(samples).astype(np.float32)
        tone += breath * noise * (np.exp(-t / decay_s) if struck else 1) + knock * noise * np.exp(-t / 0.012)
        stop = min(start + samples, len(out))
        out[start:stop] += (tone * envelope)[: stop - start].astype(np.float32)
    return out[:-1] / max(1.0, float(np.abs(out).max()))
