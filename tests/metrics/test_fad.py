import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import fad
from timbrel.metrics.sets import Embeddings


def as_set(rows, encoder="test"):
    """Every row a recording."""
    return Embeddings(encoder, list(np.asarray(rows)[:, None]))


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def test_gaussians_of_known_distance():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.1, 3, (2, 6))
    m = rng.standard_normal(6)
    # Covariances that commute: the sum of (difference of standard deviations)^2.
    q = rotation(6)
    expected = np.square(m).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    found = fad.frechet_distance(np.zeros(6), q * a @ q.T, m, q * b @ q.T)
    assert found == pytest.approx(expected, rel=1e-12)
    # Two dimensions, not commuting: Tr sqrt(M) = sqrt(Tr M + 2 sqrt(det M)).
    s1, s2 = np.array([[2.0, 0.3], [0.3, 1.0]]), np.array([[1.0, -0.8], [-0.8, 3.0]])
    product = s1 @ s2
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    found = fad.frechet_distance(np.zeros(2), s1, np.ones(2), s2)
    assert found == pytest.approx(2 + np.trace(s1) + np.trace(s2) - 2 * root, rel=1e-12)
    assert fad.frechet_distance(np.ones(2), s2, np.zeros(2), s1) == pytest.approx(found, rel=1e-12)


def test_singular_covariances_are_no_trouble():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 20, 64))  # 20 embeddings of 64 dimensions
    found = fad.plain_distance(x, y)
    centred = [(z - z.mean(0)) / np.sqrt(19) for z in (x, y)]
    nuclear = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()  # another way to the same trace
    expected = np.square(x.mean(0) - y.mean(0)).sum() + sum(np.square(c).sum() for c in centred) - 2 * nuclear
    assert found == pytest.approx(expected, rel=1e-5)
    assert fad.plain_distance(x, x) == pytest.approx(0, abs=1e-5)
    assert fad.plain_distance(np.zeros((9, 3)), np.ones((9, 3))) == 3


def test_a_set_is_at_no_distance_from_itself():
    rows = np.random.default_rng(2).standard_normal((60, 5))
    found = fad.frechet_audio_distance(as_set(rows), as_set(rows))
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.plain == pytest.approx(0, abs=1e-9)
    assert found.standard_error == pytest.approx(0, abs=1e-9)


def test_neither_moving_nor_turning_both_sets_changes_it():
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((80, 4)), 1.5 * rng.standard_normal((70, 4)) + 0.5
    found = fad.frechet_audio_distance(as_set(x), as_set(y))
    moved = fad.frechet_audio_distance(as_set(x @ rotation(4) + 7), as_set(y @ rotation(4) + 7))
    assert moved.value == pytest.approx(found.value, rel=1e-9)
    assert moved.standard_error == pytest.approx(found.standard_error, rel=1e-9)
    larger = fad.frechet_audio_distance(as_set(3 * x), as_set(3 * y))
    assert larger.value == pytest.approx(9 * found.value, rel=1e-9)


def test_the_bias_goes_and_the_error_is_right():
    rng = np.random.default_rng(4)
    d, n, truth = 16, 120, 16 * 0.3**2
    results = []
    for _ in range(12):
        x, y = rng.standard_normal((2, n, d))
        results.append(fad.frechet_audio_distance(as_set(x), as_set(y + 0.3)))
    values = np.array([result.value for result in results])
    plain = np.mean([result.plain for result in results])
    spread = values.std(ddof=1)
    assert plain > truth + 1
    assert abs(values.mean() - truth) < 0.25 * (plain - truth)
    assert abs(values.mean() - truth) < 3 * spread / np.sqrt(len(values)) + 0.1
    assert np.mean([result.standard_error for result in results]) == pytest.approx(spread, rel=0.5)
    assert results[0].recordings == (n, n)
    assert results[0].embeddings == (n, n)
    assert not results[0].warning


def test_windows_of_one_recording_do_not_count_as_recordings():
    rng = np.random.default_rng(5)

    def recordings():
        return Embeddings("test", [rng.standard_normal(3) + 0.1 * rng.standard_normal((20, 3)) for _ in range(60)])

    found = [fad.frechet_audio_distance(recordings(), recordings()) for _ in range(8)]
    assert found[0].embeddings == (1200, 1200)
    plain, value = (np.mean([getattr(result, name) for result in found]) for name in ("plain", "value"))
    assert plain > 0.05
    assert abs(value) < plain / 2


def test_too_few_embeddings_for_the_dimensions_are_said():
    rng = np.random.default_rng(6)
    found = fad.frechet_audio_distance(*(as_set(rng.standard_normal((30, 20))) for _ in range(2)))
    assert "at least 40" in found.warning
    assert found.value < found.plain


def test_windows_do_not_make_up_for_recordings():
    rng = np.random.default_rng(9)

    def recordings(count):
        return Embeddings("test", [rng.standard_normal(32) + 0.3 * rng.standard_normal((10, 32)) for _ in range(count)])

    few, many = (fad.frechet_audio_distance(recordings(n), recordings(n)) for n in (40, 256))
    assert "40 recordings" in few.warning
    assert "at least 64" in few.warning
    assert not many.warning
    assert abs(many.value) < 0.5 < many.plain


def test_the_result_says_who_listened_and_is_the_same_again():
    rows = np.random.default_rng(7).standard_normal((2, 50, 3))
    first, second = as_set(rows[0], "timbrel-features"), as_set(rows[1], "timbrel-features")
    [(name, found)] = fad.evaluate(first, second).items()
    assert name == "fad[timbrel-features]"
    assert found == fad.evaluate(first, second)[name]
    assert found != fad.evaluate(first, second, seed=1)[name]
    assert str(found).startswith(f"{found.value:.4g} ± ")


def test_bad_shapes_are_refused():
    with pytest.raises(InputError, match=r"expected \[d\], \[d, d\]"):
        fad.frechet_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))
