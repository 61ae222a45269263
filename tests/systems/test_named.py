import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from timbrel.errors import InputError, ModelError
from timbrel.systems.folder import load_system
from timbrel.systems.named import (
    drop_instrument,
    keep_instrument,
    load_instruments,
    own_instruments,
    save_instruments,
    user_instruments_path,
)
from timbrel.systems.transfer import TransferSystem
from timbrel.systems.weights import fingerprint


def test_instruments_are_kept_whole_and_read_in_float32(tmp_path):
    path = tmp_path / "deep" / "instruments.safetensors"
    assert load_instruments(path) == {}
    save_instruments(path, {"lute": torch.ones(4, 16)})
    assert load_instruments(path)["lute"].dtype == torch.float32
    assert [f.name for f in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("tokens", [torch.ones(4), torch.ones(0, 16), torch.ones(4, 8), torch.full((4, 16), torch.nan)])
def test_what_are_no_tokens_is_refused(tmp_path, tokens):
    save_file({"lute": tokens}, tmp_path / "instruments.safetensors")
    with pytest.raises(ModelError, match="is broken: 'lute'"):
        load_instruments(tmp_path / "instruments.safetensors", width=16)


def test_the_users_own_belong_to_one_style_encoder(tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    one, other = (load_system(tiny_model_folder, TransferSystem) for _ in range(2))
    keep_instrument(one, "lute", torch.ones(4, 16))
    keep_instrument(one, "lyre", torch.zeros(4, 16))
    other.denoiser.enter.weight.data.add_(1)
    assert sorted(own_instruments(other)) == ["lute", "lyre"]
    assert fingerprint(one.style) == fingerprint(other.style)
    other.style.enter.bias.data.add_(1)
    assert own_instruments(other) == {}
    torch.testing.assert_close(own_instruments(one)["lute"], torch.ones(4, 16))


def test_the_users_own_outlast_the_training_of_the_style_encoder(tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    before, after = (load_system(tiny_model_folder, TransferSystem) for _ in range(2))
    after.style.enter.bias.data.add_(1)
    after.info["earlier_styles"] = [fingerprint(before.style)]
    for name in ("lute", "lyre"):
        keep_instrument(before, name, torch.ones(4, 16))
    keep_instrument(after, "lute", torch.zeros(4, 16))
    assert sorted(own_instruments(after)) == ["lute", "lyre"]
    torch.testing.assert_close(own_instruments(after)["lute"], torch.zeros(4, 16))
    torch.testing.assert_close(own_instruments(before)["lute"], torch.ones(4, 16))
    drop_instrument(after, "lute")
    assert sorted(own_instruments(after)) == ["lyre"], "both of that name are gone"
    with pytest.raises(InputError, match="'lute' is no instrument of your own for this model; expected one of: lyre"):
        drop_instrument(after, "lute")


def test_what_is_added_at_the_same_time_is_all_kept(tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    system = load_system(tiny_model_folder, TransferSystem)
    names = [f"lute-{number}" for number in range(20)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: keep_instrument(system, name, torch.ones(4, 16)), names))
    assert sorted(own_instruments(system)) == sorted(names)


def test_a_users_instruments_are_where_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    old = tmp_path / ".local" / "share" / "timbrel" / "instruments.safetensors"
    save_instruments(old, {"lute": torch.ones(4, 16)})
    assert user_instruments_path() == old
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    if sys.platform == "linux":
        assert user_instruments_path() == tmp_path / "data" / "timbrel" / "instruments.safetensors"
