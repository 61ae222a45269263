"""A band-pass filter: removes rumble below the music and hiss above it."""

from __future__ import annotations

import numpy as np

from timbrel.audio.io import Waveform

LOW_HZ, HIGH_HZ = 60.0, 12000.0  # where a sine becomes 3 dB weaker


class BandPass:
    """A Butterworth filter of fourth order at either end, block by block. The blocks may have any sizes.

    Args:
        sample_rate: in Hz; of a low one nothing is taken from the top.
        channels: of the blocks.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        from scipy.signal import butter

        sections = [butter(4, LOW_HZ, "highpass", fs=sample_rate, output="sos")]
        if sample_rate > HIGH_HZ / 0.45:
            sections.append(butter(4, HIGH_HZ, "lowpass", fs=sample_rate, output="sos"))
        self._sections = np.concatenate(sections)
        self._state = np.zeros((len(self._sections), channels, 2))

    def push(self, block: Waveform) -> Waveform:
        """A block [channels, n] -> the same, filtered."""
        from scipy.signal import sosfilt

        if not block.shape[1]:
            return block
        filtered, self._state = sosfilt(self._sections, block, axis=1, zi=self._state)
        return filtered.astype(np.float32)
