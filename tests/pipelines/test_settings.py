"""What a call may ask for: values out of range are refused at once, and numpy's whole numbers are whole numbers."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from timbrel.errors import InputError
from timbrel.pipelines.settings import AccompanySettings, DuetSettings, Method, TransferSettings


def test_they_need_neither_torch_nor_numpy():
    code = "import sys, timbrel.pipelines.settings; sys.exit(bool({'torch', 'numpy', 'tyro'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_whole_numbers_of_numpy_become_python_s():
    numbers: Any = {"seed": np.int64(2), "steps": np.uint8(3), "transpose": np.int32(-12)}
    settings = TransferSettings(**numbers)
    assert settings == TransferSettings(seed=2, steps=3, transpose=-12)
    assert {type(value) for value in (settings.seed, settings.steps, settings.transpose)} == {int}
    assert type(DuetSettings(seed=numbers["seed"]).seed) is int


@pytest.mark.parametrize(
    ("make", "values", "said"),
    [
        (TransferSettings, {"strength": 1.1}, "strength is 1.1; expected 0 to 1"),
        (TransferSettings, {"strength": float("nan")}, "strength is nan"),
        (TransferSettings, {"guidance": 20.5}, "guidance is 20.5; expected 0 to 20"),
        (TransferSettings, {"steps": 0}, "steps is 0; expected a whole number of at least 1"),
        (TransferSettings, {"steps": 1.5}, "steps is 1.5"),
        (TransferSettings, {"transpose": -37}, "transpose is -37; expected -36 to 36, or 'auto'"),
        (TransferSettings, {"transpose": "up"}, "transpose is 'up'"),
        (TransferSettings, {"transpose": np.array([1, 2])}, r"transpose is array\(\[1, 2\]\); expected -36"),
        (TransferSettings, {"seed": 0.5}, "seed is 0.5; expected a whole number, 0 to"),
        (TransferSettings, {"seed": 2**63}, f"seed is {2**63}"),
        (AccompanySettings, {"level_db": float("nan")}, "level_db is nan"),
        (AccompanySettings, {"transpose": 37}, "transpose is 37"),
        (AccompanySettings, {"seed": "1"}, "seed is '1'"),
        (DuetSettings, {"seconds": 0}, "seconds is 0; expected more than 0"),
        (DuetSettings, {"steps": 4, "split": 4}, "split is 4; expected a whole number, 0 to 3, of 4 steps"),
        (Method, {"method": "both"}, "'both'; expected 'cross' or 'default'"),
        (Method, {"method": "cross", "model": "default"}, "model is given, which the method 'cross' does not have"),
        (Method, {"start": 0, "models": "runs"}, "start, models is given, which the method 'default' does not have"),
        (Method, {"equalise": False}, "equalise is given"),
    ],
)
def test_what_is_wrong_is_said(make, values, said):
    with pytest.raises(InputError, match=said):
        make(**values)


@pytest.mark.parametrize("value", ["1", None, [0.5]])
def test_what_is_no_number_is_refused(value: Any):
    with pytest.raises(InputError, match="strength is"):
        TransferSettings(strength=value)
