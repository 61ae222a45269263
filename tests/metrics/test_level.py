import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.metrics import level

TONE = np.sin(np.arange(4 * level.SAMPLE_RATE) * 0.1).astype(np.float32)
HALVES = np.where(np.arange(len(TONE)) < len(TONE) // 2, 0.1, 1.0)


def test_what_keeps_its_levels_has_no_error_however_loud_it_is():
    assert level.level_error(TONE * HALVES, 0.01 * TONE * HALVES) == pytest.approx(0, abs=1e-3)


def test_flattened_dynamics_are_an_error_of_half_their_step():
    assert level.level_error(TONE * HALVES, TONE) == pytest.approx(10, abs=0.1)
    assert level.level_error(TONE * HALVES, TONE * HALVES**0.5) == pytest.approx(5, abs=0.1)


def test_rests_do_not_count():
    reference, estimated = TONE.copy(), TONE.copy()
    reference[-level.SPAN :] *= 1e-4
    assert level.level_error(reference, estimated) == pytest.approx(0, abs=1e-3)
    assert level.level_error(estimated, reference) > 20  # a note that went missing is no rest


def test_a_silent_reference_is_refused():
    with pytest.raises(InputError, match="silent"):
        level.level_error(0 * TONE, TONE)


@pytest.mark.parametrize("other", [TONE[:-1], TONE[None], TONE[: level.SPAN - 1]])
def test_waveforms_that_do_not_go_together_are_refused(other):
    with pytest.raises(InputError, match="as many"):
        level.evaluate(TONE, other)
