"""The public API: every name is there, and none costs anything before it is used."""

import subprocess
import sys

import pytest

import timbrel
from timbrel.pipelines import transfer


def test_every_public_name_is_there():
    assert {"load", "transfer", "list_models", "add_instrument", "InputError"} <= set(timbrel.__all__)  # type: ignore[attr-defined]
    for name in timbrel.__all__:  # type: ignore[attr-defined]
        assert getattr(timbrel, name) is not None
        assert name in dir(timbrel)
    with pytest.raises(AttributeError, match="No timbrel attribute lode"):
        _ = timbrel.lode  # type: ignore[attr-defined]


def test_importing_it_imports_neither_torch_nor_numpy():
    code = "import sys, timbrel; sys.exit(bool({'torch', 'numpy', 'tyro'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_transfer_loads_and_calls(monkeypatch):
    def load(model):
        return lambda source, to, **options: (model, source, to, options)

    monkeypatch.setattr(transfer, "load", load)
    done = timbrel.transfer("song.mp3", "violin", model="m", seed=3)
    assert done == ("m", "song.mp3", "violin", {"seed": 3})
