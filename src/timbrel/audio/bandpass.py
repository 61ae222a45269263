"""A band-pass filter: removes rumble below the music and hiss above it."""

from __future__ import annotations

import numpy as np

from timbrel.audio.io import Waveform
from timbrel.errors import InputError

LOW_HZ, HIGH_HZ = 60.0, 12000.0


class BandPass:
    """A Butterworth filter of fourth order at either end, block by block. The blocks may have any
    sizes.

    Args:
        sample_rate: in Hz.
        channels: of the blocks.
        low_hz, high_hz: where a sine becomes 3 dB weaker. A `high_hz` near or above half the sample rate has no effect.

    Raises:
        InputError: not `0 < low_hz < high_hz`, or `low_hz` is not below half the sample rate.
    """

    def __init__(self, sample_rate: int, channels: int, *, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ) -> None:
        from scipy.signal import butter

        if not 0 < low_hz < min(high_hz, sample_rate / 2):
            raise InputError(
                f"low_hz is {low_hz} and high_hz {high_hz}; expected 0 < low_hz < high_hz, and low_hz below "
                f"{sample_rate / 2} Hz, half the sample rate"
            )
        sections = [butter(4, low_hz, "highpass", fs=sample_rate, output="sos")]
        if high_hz < 0.45 * sample_rate:
            sections.append(butter(4, high_hz, "lowpass", fs=sample_rate, output="sos"))
        self._sections = np.concatenate(sections)
        self._state = np.zeros((len(self._sections), channels, 2))

    def push(self, block: Waveform) -> Waveform:
        """A block [channels, n] -> the same, filtered."""
        from scipy.signal import sosfilt

        if not block.shape[1]:
            return block
        filtered, self._state = sosfilt(self._sections, block, axis=1, zi=self._state)
        return filtered.astype(np.float32)
