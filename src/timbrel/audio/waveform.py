"""The result of a task: a waveform and its sample rate, as one value."""

from __future__ import annotations

import os
from dataclasses import dataclass

from timbrel.audio.io import Waveform, write_audio


@dataclass(frozen=True)
class Audio:
    """A recording in memory.

    Attributes:
        waveform: float32 [channels, samples], full scale at 1.
        sample_rate: in Hz.
    """

    waveform: Waveform
    sample_rate: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.waveform.shape[-1] / self.sample_rate

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a file; the suffix (.wav, .flac, .ogg, .mp3) says the format.

        Raises:
            InputError, AudioError: as `write_audio`.
        """
        write_audio(path, self.waveform, self.sample_rate, overwrite=overwrite)
