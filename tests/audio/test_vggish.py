import numpy as np
import pytest
import torch

from timbrel.audio import vggish
from timbrel.errors import InputError


def by_the_book(x):
    """The front end as its paper and constants describe it, frame by frame, in float64."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    weights = np.zeros((257, 64))
    for k in range(1, 257):
        place = 1127 * np.log(1 + k * 16000 / 512 / 700)
        for band in range(64):
            low, centre, high = edges[band : band + 3]
            weights[k, band] = max(0, min((place - low) / (centre - low), (high - place) / (high - centre)))
    rows = []
    for start in range(0, len(x) - 400 + 1, 160):
        spectrum = np.abs(np.fft.fft(np.concatenate([x[start : start + 400] * window, np.zeros(112)])))[:257]
        rows.append(np.log(spectrum @ weights + 0.01))
    return np.stack([rows[i : i + 96] for i in range(0, len(rows) - 95, 96)])[:, None]


def test_examples_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    t = np.arange(40000) / 16000
    x = (0.4 * np.sin(2 * np.pi * 300 * (1 + t) * t) + 0.1 * rng.standard_normal(len(t))).astype(np.float32)
    x[20000:24000] = 0
    found = vggish.examples(torch.from_numpy(x))
    assert found.shape == (2, 1, 96, 64)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), by_the_book(x.astype(np.float64)), atol=2e-4)
    assert float(found.min()) == pytest.approx(np.log(0.01), abs=1e-5)


def test_an_example_is_15600_samples_and_the_next_15360_further():
    x = torch.randn(15600 + 15360)
    assert len(vggish.examples(x)) == 2
    assert len(vggish.examples(x[:-1])) == 1
    torch.testing.assert_close(vggish.examples(x)[1:], vggish.examples(x[15360:]))


@pytest.mark.parametrize("shape", [(15599,), (0,), (1, 16000)])
def test_what_it_cannot_hear_is_refused(shape):
    with pytest.raises(InputError, match="15600"):
        vggish.examples(torch.zeros(shape))
