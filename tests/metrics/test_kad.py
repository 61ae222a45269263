import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import kad
from timbrel.metrics.sets import Embeddings


def as_set(rows, encoder="test"):
    return Embeddings(encoder, list(np.asarray(rows)[:, None]))


def by_hand(x, y):
    """The paper's formula, pair by pair."""
    distances = [np.linalg.norm(x[i] - x[j]) for i in range(len(x)) for j in range(i)]
    width = np.median(distances)

    def k(a, b):
        return np.exp(-np.square(a - b).sum() / (2 * width**2))

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    return 100 * (xx + yy - 2 * xy)


def test_it_is_the_papers_where_a_recording_has_one_embedding(monkeypatch):
    monkeypatch.setattr(kad, "BLOCK", 7)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 3)) + 100, rng.standard_normal((25, 3)) + 100.5
    found = kad.kernel_audio_distance(as_set(x), as_set(y))
    assert found.value == pytest.approx(by_hand(x, y), rel=1e-9)
    assert found.plain == pytest.approx(found.value, rel=1e-9)
    assert (found.recordings, found.embeddings) == ((20, 25), (20, 25))


def test_gaussians_of_known_distance():
    rng = np.random.default_rng(1)
    n, d, shift = 1500, 3, 0.5
    x, y = rng.standard_normal((2, n, d))
    y[:, 0] += shift
    s2 = kad.bandwidth(x) ** 2
    # E k(x, y) of two normal distributions whose means are `shift` apart.
    same, apart = ((s2 / (s2 + 2)) ** (d / 2) * np.exp(-(move**2) / (2 * (s2 + 2))) for move in (0, shift))
    found = kad.kernel_audio_distance(as_set(x), as_set(y))
    assert found.value == pytest.approx(200 * (same - apart), abs=4 * found.standard_error)
    assert 0 < found.standard_error < 0.2 * found.value


def test_without_a_difference_it_is_0_on_average_and_its_error_says_so():
    rng = np.random.default_rng(2)

    def recordings():  # windows of a recording are alike
        return Embeddings("test", [rng.standard_normal(4) + 0.2 * rng.standard_normal((6, 4)) for _ in range(40)])

    found = [kad.kernel_audio_distance(recordings(), recordings()) for _ in range(25)]
    values = np.array([result.value for result in found])
    assert abs(values.mean()) < 3 * values.std() / 5
    assert np.mean([result.standard_error for result in found]) == pytest.approx(values.std(), rel=0.6)
    assert np.mean([result.plain for result in found]) > 5 * abs(values.mean())  # the paper's takes pairs of one


def test_moving_turning_and_scaling_change_nothing():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((40, 4)) + 0.4
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    found = kad.kernel_audio_distance(as_set(x), as_set(y))
    again = kad.kernel_audio_distance(as_set(5 * x @ turn + 9), as_set(5 * y @ turn + 9))
    assert again.value == pytest.approx(found.value, rel=1e-9)
    assert again.standard_error == pytest.approx(found.standard_error, rel=1e-9)


def test_the_bandwidth_of_many_is_that_of_a_part(monkeypatch):
    rows = np.random.default_rng(4).standard_normal((600, 2))
    whole = kad.bandwidth(rows)
    monkeypatch.setattr(kad, "BANDWIDTH_SAMPLE", 300)
    part = kad.bandwidth(rows, seed=1)
    assert part == kad.bandwidth(rows, seed=1) != whole
    assert part == pytest.approx(whole, rel=0.1)


def test_a_reference_of_copies_is_refused():
    with pytest.raises(InputError, match=r"median distance .* is 0"):
        kad.evaluate(as_set(np.ones((12, 3))), as_set(np.random.default_rng(0).standard_normal((12, 3))))


def test_the_result_says_who_listened():
    rows = np.random.default_rng(5).standard_normal((2, 15, 3))
    [name] = kad.evaluate(as_set(rows[0], "clap:x"), as_set(rows[1], "clap:x"))
    assert name == "kad[clap:x]"
