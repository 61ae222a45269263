import numpy as np
import pytest
import torch

from timbrel.errors import ModelError
from timbrel.models.musicnn import TAGS, Musicnn

KERNELS = [
    (7, 38, 1, 204),
    (7, 67, 1, 204),
    *((n, 1, 1, 51) for n in (128, 64, 32)),
    (7, 561, 1, 64),
    *[(7, 64, 1, 64)] * 2,
]
NORMS = [1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200]
EPS = 1e-3


def numbered(name, number):
    return f"{name}_{number}" if number else name


@pytest.fixture(scope="module")
def tensors():
    """As TensorFlow would have them, at random."""
    rng = np.random.default_rng(0)
    values = {}
    for number, shape in enumerate([*KERNELS, (1506, 200), (200, 50)]):
        name = numbered("conv2d", number) if number < 8 else numbered("dense", number - 8)
        values[f"{name}/kernel"] = rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        values[f"{name}/bias"] = 0.1 * rng.standard_normal(shape[-1])
    for number, size in enumerate(NORMS):
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            values[f"{numbered('batch_normalization', number)}/{part}"] = rng.uniform(0.5, 1.5, size)
    return {name: value.astype(np.float32) for name, value in values.items()}


def by_the_listing(tensors, x):
    """The published layers written out, channels last: [frames, bands] -> probabilities [50]."""

    def norm(x, number):
        gamma, beta, mean, variance = (
            tensors[f"{numbered('batch_normalization', number)}/{part}"]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / np.sqrt(variance + EPS) * gamma + beta

    def conv(x, number, before, after):
        kernel, bias = (tensors[f"{numbered('conv2d', number)}/{part}"] for part in ("kernel", "bias"))
        x = np.pad(x, ((before, after), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2])
        return np.maximum(np.einsum("tfhw,hwo->tfo", windows, kernel[:, :, 0], optimize=True) + bias, 0)

    x = norm(x, 0)
    pads = [(3, 3), (3, 3), (63, 64), (31, 32), (15, 16)]
    front = np.concatenate([norm(conv(x, i, *pad), i + 1).max(1) for i, pad in enumerate(pads)], 1)
    first = norm(conv(front, 5, 3, 3)[:, 0], 6)
    second = norm(conv(first, 6, 3, 3)[:, 0], 7) + first
    third = norm(conv(second, 7, 3, 3)[:, 0], 8) + second
    features = np.concatenate([front, first, second, third], 1)
    pooled = norm(np.stack([features.max(0), features.mean(0)], 1).reshape(-1), 9)
    hidden = norm(np.maximum(pooled @ tensors["dense/kernel"] + tensors["dense/bias"], 0), 10)
    return 1 / (1 + np.exp(-(hidden @ tensors["dense_1/kernel"] + tensors["dense_1/bias"])))


def test_it_computes_the_published_layers(tensors):
    network = Musicnn.from_tensorflow(tensors)
    x = np.random.default_rng(1).uniform(0, 3, (2, 140, 96)).astype(np.float32)
    expected = np.stack([by_the_listing(tensors, patch) for patch in x])
    np.testing.assert_allclose(network(torch.from_numpy(x)).numpy(), expected, atol=1e-5)


def test_its_size_is_the_published_one():
    assert sum(parameter.numel() for parameter in Musicnn().parameters()) == 787_159
    assert len(TAGS) == len(set(TAGS)) == 50


@pytest.mark.parametrize("name", ["dense_1/kernel", "conv2d_5/kernel", "batch_normalization_10/moving_mean"])
def test_tensors_of_another_network_are_refused(tensors, name):
    with pytest.raises(ModelError, match="not those of MTT_musicnn"):
        Musicnn.from_tensorflow({key: value for key, value in tensors.items() if key != name})
    with pytest.raises(ModelError, match="not those of MTT_musicnn"):
        Musicnn.from_tensorflow(tensors | {name: tensors[name][..., :-1]})
