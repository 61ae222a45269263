"""Any sound as the instrument, and no files at all: arrays in, an array out.  python examples/own_instrument.py"""

import numpy as np

import timbrel

RATE = 44100


def tone(hertz: float, partials: list[float]) -> np.ndarray:
    """One second of a note that dies away, [samples]."""
    time = np.arange(RATE) / RATE
    wave = sum(level * np.sin(2 * np.pi * hertz * (k + 1) * time) for k, level in enumerate(partials))
    return 0.2 * wave * np.exp(-4 * time) * np.minimum(1, time * 100)


melody = np.concatenate([tone(hertz, [1, 0.5, 0.3]) for hertz in (440, 494, 554)])
clip = np.concatenate([tone(hertz, [1, 0, 0.6, 0, 0.4]) for hertz in (392, 440, 523, 587)])

result = timbrel.load()(melody, to=clip, sample_rate=RATE, strength=0.8)
print(f"{result.waveform.shape} samples, loudest {np.abs(result.waveform).max():.2f}")
