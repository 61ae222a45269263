"""VGGish's audio front end: waveform -> log-mel examples (Hershey et al. 2017, "CNN architectures for large-scale
audio classification"; the constants are those of its published `vggish_params`).

It differs from `audio/mel.py` in every part that a network can hear: frames are not centred, the spectrum is the
magnitude, the scale is HTK's, and the triangles are straight on the mel scale, not in Hz.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from timbrel.errors import InputError

SAMPLE_RATE = 16000
WINDOW_LENGTH = 400  # 25 ms
HOP_LENGTH = 160  # 10 ms
N_FFT = 512
N_MELS = 64
MIN_HZ, MAX_HZ = 125.0, 7500.0
LOG_OFFSET = 0.01
EXAMPLE_FRAMES = 96
EXAMPLE_HOP = EXAMPLE_FRAMES * HOP_LENGTH  # samples from one example to the next: 0.96 s
EXAMPLE_LENGTH = EXAMPLE_HOP - HOP_LENGTH + WINDOW_LENGTH  # samples that one example sees


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    """Triangles of height 1 on HTK's mel scale [n_fft // 2 + 1, n_mels]; the bin at 0 Hz belongs to none."""

    def mel(hz: Tensor) -> Tensor:
        return 1127 * torch.log1p(hz / 700)

    bins = mel(torch.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1, dtype=torch.float64))[:, None]
    low, high = mel(torch.tensor([MIN_HZ, MAX_HZ], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, N_MELS + 2, dtype=torch.float64)
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp_min(0).float()


def examples(waveform: Tensor) -> Tensor:
    """The input of VGGish: log(mel + 0.01) of the magnitudes of a waveform, cut into examples of 0.96 s.

    Args:
        waveform: [samples], mono, float32 in [-1, 1], at 16 kHz.

    Returns:
        Tensor [n, 1, 96 frames, 64 bands], float32; what does not fill an example is left out.

    Raises:
        InputError: another shape, or shorter than one example, 15,600 samples.
    """
    if waveform.ndim != 1 or len(waveform) < EXAMPLE_LENGTH:
        raise InputError(
            f"waveform has shape {tuple(waveform.shape)}; expected [samples] at {SAMPLE_RATE} Hz, at least "
            f"{EXAMPLE_LENGTH} of them ({EXAMPLE_LENGTH / SAMPLE_RATE:.3f} s): VGGish hears nothing shorter"
        )
    frames = waveform.unfold(0, WINDOW_LENGTH, HOP_LENGTH) * torch.hann_window(WINDOW_LENGTH).to(waveform)
    magnitude = torch.fft.rfft(frames, n=N_FFT).abs()
    log_mel = torch.log(magnitude @ _filters().to(waveform) + LOG_OFFSET)
    count = len(log_mel) // EXAMPLE_FRAMES
    return log_mel[: count * EXAMPLE_FRAMES].reshape(count, 1, EXAMPLE_FRAMES, N_MELS)
