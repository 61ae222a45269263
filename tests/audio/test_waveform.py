import numpy as np
import pytest

from timbrel.audio.io import read_audio
from timbrel.audio.waveform import Audio
from timbrel.errors import InputError


def test_what_is_saved_is_read_and_not_replaced(tmp_path):
    audio = Audio(np.full((2, 4000), 0.25, np.float32), 8000)
    assert audio.duration_s == 0.5
    audio.save(tmp_path / "a.wav")
    waveform, rate = read_audio(tmp_path / "a.wav")
    assert rate == 8000
    np.testing.assert_allclose(waveform, audio.waveform, atol=1e-6)
    with pytest.raises(InputError, match="exists"):
        audio.save(tmp_path / "a.wav")
    audio.save(tmp_path / "a.wav", overwrite=True)
