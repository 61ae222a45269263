import dataclasses
import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from timbrel.audio.mel import MelConfig
from timbrel.errors import ModelError
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.models.report import ReportCodec, ReportCodecConfig, ReportStyleConfig, ReportUNetConfig
from timbrel.systems import folder as folders
from timbrel.systems.alone import CodecSystem
from timbrel.systems.base import ScheduleConfig, StyleTransfer
from timbrel.systems.folder import load_codec, load_system, save_system
from timbrel.systems.report_001 import Report001System
from timbrel.systems.single import SingleSystem
from timbrel.systems.transfer import TransferSystem

MEL: dict[str, Any] = {
    "sample_rate": 16000,
    "n_fft": 1024,
    "hop_length": 256,
    "n_mels": 32,
    "min_hz": 0.0,
    "max_hz": None,
    "norm": None,
    "floor_db": -100.0,
}


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    """A model folder that a test may spoil."""
    return shutil.copytree(tiny_model_folder, tmp_path / "model")


@pytest.fixture
def single(tiny_singles, tmp_path):
    return shutil.copytree(tiny_singles / "single-violin", tmp_path / "single")


def same(one, other):
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert one.config == other.config
    assert not other.training
    assert not any(p.requires_grad for p in other.parameters())


def test_a_transfer_system_comes_back_as_it_was_saved(folder, tmp_path):
    system = load_system(folder, TransferSystem)
    save_system(tmp_path / "again", system)
    again = load_system(tmp_path / "again", StyleTransfer)
    assert isinstance(again, TransferSystem)
    for part in system.parts:
        same(getattr(system, part), getattr(again, part))
    assert (again.mel, again.schedule_config, again.info) == (system.mel, system.schedule_config, system.info)
    torch.testing.assert_close(again.instruments, system.instruments, rtol=0, atol=0)
    torch.testing.assert_close(again.schedule.alphas_cumprod, system.schedule.alphas_cumprod)


def test_a_single_system_comes_back_as_it_was_saved(single, tmp_path):
    system = load_system(single, SingleSystem)
    save_system(tmp_path / "again", system)
    again = load_system(tmp_path / "again", SingleSystem)
    for part in system.parts:
        same(getattr(system, part), getattr(again, part))
    assert again.settings() == system.settings()
    assert load_file(tmp_path / "again" / "denoiser.safetensors")["enter.weight"].dtype == torch.bfloat16
    with pytest.raises(ModelError, match="holds a system 'single'; expected 'transfer' or 'report_001'"):
        load_system(tmp_path / "again", StyleTransfer)


def report_001():
    torch.manual_seed(0)
    codec = ReportCodec(ReportCodecConfig(latent_channels=4))
    return Report001System.build(
        dataclasses.replace(MelConfig(**MEL), n_mels=64),
        codec,
        ReportStyleConfig(num_filters=8),
        ReportUNetConfig(latent_channels=4, num_filters=8, time_embedding="learned", num_timesteps=50),
        ScheduleConfig("linear", 50, "v"),
    )


def test_report_001_comes_back_as_it_was_saved(tmp_path):
    system = report_001()
    save_system(tmp_path, system)
    again = load_system(tmp_path, Report001System)
    same(system.codec, again.codec)
    assert (again.settings(), again.denoiser.config) == (system.settings(), system.denoiser.config)
    assert again.codec.encoder[1].num_batches_tracked.dtype == torch.int64


def test_networks_are_bfloat16_on_disk_and_the_rest_is_exact(folder):
    tensors = load_file(folder / "denoiser.safetensors")
    assert tensors["enter.weight"].dtype == torch.bfloat16
    assert tensors["std"].dtype == torch.float32
    assert {t.dtype for t in load_file(folder / "codec.safetensors").values()} == {torch.float32}


def test_compact_weights_take_half_the_room_and_play_alike(single, tmp_path):
    model = load_system(single, SingleSystem)
    for parameter in model.denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_system(tmp_path / "plain", model)
    save_system(tmp_path / "compact", model, compact=True)
    sizes = [(tmp_path / name / "denoiser.safetensors").stat().st_size for name in ("plain", "compact")]
    assert sizes[1] < 0.75 * sizes[0]  # names and what has one dimension are as large as before
    loaded = load_system(tmp_path / "compact", SingleSystem)
    for name, weight in model.denoiser.state_dict().items():
        error = (loaded.denoiser.state_dict()[name] - weight).abs().max()
        assert float(error) <= 0.005 * float(weight.abs().max()), name
    tensors = load_file(tmp_path / "compact" / "denoiser.safetensors")
    name = next(name for name in tensors if name.endswith(".weight.scale"))
    for spoilt, said in (
        ({name: torch.full_like(tensors[name], 3e38)}, "NaN or infinite"),
        ({name: tensors[name].to(torch.float8_e4m3fn)}, "expected float32"),
    ):
        save_file(tensors | spoilt, tmp_path / "compact/denoiser.safetensors")
        with pytest.raises(ModelError, match=said):
            load_system(tmp_path / "compact", SingleSystem)
    for spoilt in ({name: tensors[name][:1]}, {}):
        save_file({k: t for k, t in tensors.items() if k != name} | spoilt, tmp_path / "compact/denoiser.safetensors")
        with pytest.raises(ModelError, match="has the shape"):
            load_system(tmp_path / "compact", SingleSystem)


def test_a_codec_comes_out_of_any_folder_with_one(folder, single, tmp_path):
    mel, codec = load_codec(folder, MelAutoencoder)
    save_system(tmp_path / "codec", CodecSystem(mel=mel, codec=codec, info={"purpose": "codec"}))
    for place in (tmp_path / "codec", single):
        other_mel, other = load_codec(place, MelAutoencoder)
        assert other_mel == mel
        same(codec, other)
    (folder / "denoiser.safetensors").unlink()  # which is not looked at
    load_codec(folder, MelAutoencoder)
    with pytest.raises(ModelError, match="holds a MelAutoencoder; expected a ReportCodec"):
        load_codec(folder, ReportCodec)
    with pytest.raises(ModelError, match="'codec'; expected 'transfer' or 'report_001'"):
        load_system(tmp_path / "codec", StyleTransfer)


def test_what_is_not_finite_in_info_is_kept_as_nothing(single, tmp_path):
    system = load_system(single, SingleSystem)
    system.info = {"figures": {"loss": float("nan"), "rms_db": 2.0}}
    save_system(tmp_path / "again", system)
    assert load_system(tmp_path / "again").info == {"figures": {"loss": None, "rms_db": 2.0}}


def test_a_part_may_come_from_a_model_that_ships(single, tmp_path, monkeypatch):
    _, codec = load_codec(single, MelAutoencoder)
    shipped = shutil.copytree(single, tmp_path / "pretrained" / "first")
    (single / "codec.safetensors").unlink()
    change(single, codec={"from": "first"})
    with pytest.raises(ModelError, match="codec is from 'first', which does not ship"):
        load_system(single)
    monkeypatch.setattr(folders, "PRETRAINED", shipped.parent)
    same(codec, load_system(single, SingleSystem).codec)
    same(codec, load_codec(single, MelAutoencoder)[1])
    save_system(tmp_path / "own", load_system(single))
    assert (tmp_path / "own" / "codec.safetensors").exists()
    for name in ("../model", "", ["first"], "none"):
        change(single, codec={"from": name})
        with pytest.raises(ModelError, match="which does not ship"):
            load_system(single)
    change(shipped, codec={"from": "first"})
    change(single, codec={"from": "first"})
    with pytest.raises(ModelError, match=r"codec\.class is None"):
        load_system(single)


OLD_SINGLE = {
    "kind": "single",
    "architecture": "default",
    "instrument": "violin",
    "mel": MEL,
    "codec": {"factor": 4, "latent_channels": 4, "width": 8, "num_blocks": 1, "floor_db": -100.0},
    "denoiser": {
        "latent_channels": 4,
        "latent_height": 8,
        "widths": [16, 24],
        "embedding_width": 16,
        "modulation_width": 8,
    },
    "schedule": {
        "kind": "cosine",
        "num_train_timesteps": 500,
        "prediction_type": "v",
        "zero_terminal_snr": True,
    },
    "info": {"purpose": "tests", "training": "none", "figures": {}},
}


def test_folders_of_the_first_form_load(single, tmp_path):
    expected = load_system(single, SingleSystem)
    (single / "config.json").write_text(json.dumps(OLD_SINGLE))
    loaded = load_system(single, SingleSystem)
    assert (loaded.settings(), loaded.info) == (expected.settings(), expected.info)
    same(expected.denoiser, loaded.denoiser)

    codec = {key: OLD_SINGLE[key] for key in ("mel", "codec", "info")} | {"kind": "codec"}  # before "architecture"
    (single / "config.json").write_text(json.dumps(codec))
    assert type(load_system(single)) is CodecSystem

    save_system(tmp_path / "report", report_001())
    path = tmp_path / "report" / "config.json"
    config = json.loads(path.read_text())
    for part in ("codec", "style", "denoiser"):
        del config[part]["class"]
    del config["system"]
    path.write_text(json.dumps(config | {"kind": "transfer", "architecture": "report"}))
    assert type(load_system(path.parent)) is Report001System


def change(folder, **changes):
    """Values of config.json; those of an object are changed one by one, None takes a key away."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key, value in changes.items():
        if value is None:
            del config[key]
        elif isinstance(value, dict) and "from" not in value:
            config[key] |= value
        else:
            config[key] = value
    path.write_text(json.dumps(config))


def spoil(folder, name, value):
    """One number of a file of tensors."""
    tensors = load_file(folder / name)
    tensors[sorted(tensors)[-1]].flatten()[0] = value
    save_file(tensors, folder / name)


SPOILED = [
    (lambda f: (f / "config.json").unlink(), "neither a model folder"),
    (lambda f: (f / "config.json").write_text("{"), "is not a timbrel model: config.json cannot be read"),
    (lambda f: (f / "config.json").write_text("[]"), "config.json holds a list; expected an object"),
    (lambda f: (f / "config.json").write_bytes(b"\xff"), "config.json cannot be read"),
    (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json cannot be read"),
    (lambda f: (f / "config.json").write_text('{"a":' * 100_000), "config.json cannot be read"),
    (lambda f: (f / "config.json").write_text(" " * 2_000_000), "has 2000000 bytes; expected at most"),
    (lambda f: change(f, info={"loss": float("nan")}), "the number NaN; expected finite ones"),
    (lambda f: change(f, mel={"floor_db": float("-inf")}), "the number -Infinity; expected finite ones"),
    (lambda f: (f / "config.json").write_text("{}"), "the system is None; expected one of transfer"),
    (lambda f: change(f, system=["transfer"]), r"the system is \['transfer'\]; expected one of transfer"),
    (lambda f: change(f, system="codec"), "config.json has mel, schedule, codec, style, denoiser; expected mel, codec"),
    (lambda f: change(f, mel=None), "expected mel, codec, style, denoiser, schedule"),
    (lambda f: change(f, colour="red"), "has .*, colour; expected mel"),
    (lambda f: change(f, codec="small"), "codec is 'small'; expected"),
    (lambda f: change(f, codec={"class": "vae"}), "codec.class is 'vae'; expected 'mel-autoencoder'"),
    (lambda f: change(f, codec={"colour": "red"}), "codec has the setting 'colour'; expected factor, latent_channels"),
    (lambda f: change(f, denoiser={"width": "wide"}), "denoiser.width is 'wide'; expected a value of type int"),
    (lambda f: change(f, denoiser={"width": True}), "denoiser.width is True; expected a value of type int"),
    (lambda f: change(f, denoiser={"dilations": [1, 0]}), r"denoiser.dilations\[1\] is 0; expected 1 to 256"),
    (lambda f: change(f, denoiser={"dilations": [1] * 5000}), "expected a list of at most 1000 values"),
    (lambda f: change(f, denoiser={"dilations": [1] * 1000}), "dilations is .*; expected 0 to 64 values"),
    (lambda f: change(f, codec={"num_blocks": 1e9}), "codec.num_blocks is 1000000000.0; expected a value of type int"),
    (lambda f: change(f, codec={"num_blocks": 10**9}), "codec.num_blocks is 1000000000; expected 0 to 64"),
    (lambda f: change(f, mel={"hop_length": 1}), "mel.hop_length is 1; expected 32 to"),
    (lambda f: change(f, mel={"hop_length": 900}), "mel: hop_length is 900; expected 1 to n_fft / 2"),
    (lambda f: change(f, mel={"max_hz": 10**400}), "mel.max_hz is 1000.*; expected a value of type float"),
    (lambda f: change(f, style={"width": 20000}), "style.width is 20000; expected 1 to 8192"),
    (lambda f: change(f, style={"width": 8192}), "width of style and denoiser|token_width"),
    (lambda f: change(f, mel={"n_mels": 64}), "mel.n_mels / codec.factor and the latent_height"),
    (lambda f: change(f, denoiser={"num_heads": 3}), "num_heads is 3; expected a divisor"),
    (lambda f: change(f, denoiser={"width": 4096}), "does not hold this model's weights"),
    (lambda f: change(f, schedule={"kind": "square"}), "'square'; expected 'cosine', 'linear' or 'scaled_linear'"),
    (lambda f: change(f, schedule={"num_train_timesteps": 10**9}), "num_train_timesteps is 1000000000; expected 2 to"),
    (lambda f: change(f, info=[]), r"info is \[\]; expected an object|info is \[\]; expected a value of type dict"),
    (lambda f: change(f, info={"sampling": {"steps": 0}}), "info.sampling.steps is 0; expected 1 to"),
    (lambda f: change(f, info={"sampling": {"steps": 101}}), "info.sampling.steps is 101; expected at most 100"),
    (lambda f: change(f, info={"figures": []}), "info.figures is"),
    (lambda f: (f / "denoiser.safetensors").unlink(), "does not hold this model's weights"),
    (lambda f: (f / "style.safetensors").write_bytes(b"no weights"), "does not hold this model's weights"),
    (lambda f: shutil.copy(f / "style.safetensors", f / "codec.safetensors"), "does not hold this model's weights"),
    (lambda f: spoil(f, "denoiser.safetensors", float("nan")), "holds NaN or infinite numbers"),
    (lambda f: spoil(f, "codec.safetensors", float("inf")), "holds NaN or infinite numbers"),
    (lambda f: spoil(f, "instruments.safetensors", float("nan")), "'violin' holds NaN or infinite numbers"),
    (lambda f: (f / "instruments.safetensors").write_bytes(b"x"), "is broken"),
    (
        lambda f: save_file({"lute": torch.zeros(3, 8)}, f / "instruments.safetensors"),
        r"'lute' has the shape \(3, 8\); expected \[n, 16\]",
    ),
]


@pytest.mark.parametrize(("spoiled", "said"), SPOILED)
def test_a_broken_folder_is_refused_with_its_reason(folder, spoiled, said):
    spoiled(folder)
    with pytest.raises(ModelError, match=said):
        load_system(folder, TransferSystem)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"system": "transfer"}, "expected mel, codec, style, denoiser, schedule"),
        ({"instrument": None}, "expected instrument, mel, codec"),
        ({"instrument": 3}, "instrument is 3; expected a value of type str"),
        ({"instrument": "../../x"}, "instrument is '../../x'; expected a name without slashes"),
        ({"denoiser": {"widths": "wide"}}, "denoiser.widths is 'wide'; expected a list"),
        ({"denoiser": {"widths": []}}, r"denoiser.widths is \(\); expected 1 to 16 values"),
        ({"denoiser": {"widths": [8, 8]}}, "does not hold this model's weights"),
        ({"denoiser": {"latent_channels": 3}}, "latent_channels of codec and denoiser are 4 and 3"),
        ({"schedule": {"prediction_type": "sample"}}, "'sample'; expected 'epsilon' or 'v'"),
    ],
)
def test_a_broken_single_system_is_refused_with_its_reason(single, changes, said):
    change(single, **changes)
    with pytest.raises(ModelError, match=said):
        load_system(single, SingleSystem)


def test_a_broken_folder_takes_no_memory(folder, tmp_path):
    """Of all the above, one process: what the worst one needs beside what any load does."""
    places = [folder]
    for number, (spoiled, _) in enumerate(SPOILED):
        places.append(shutil.copytree(folder, tmp_path / f"spoiled-{number}"))
        spoiled(places[-1])
    code = f"""
import resource, sys, time
from timbrel.audio.mel import MelConfig
from timbrel.errors import ModelError
from timbrel.systems.folder import load_system

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * {1 if sys.platform == "darwin" else 1024}

load_system({str(folder)!r})
before = peak_bytes()
for place in {[str(place) for place in places[1:]]!r}:
    start = time.process_time()
    try:
        load_system(place)
    except ModelError:
        pass
    assert time.process_time() - start < 3, place
    assert peak_bytes() - before < 200e6, place
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.parametrize("name", ["default", "guitar", "violin", "features"])
def test_what_ships_loads(name):
    system: Any = load_system(name)
    assert not any(tensor.is_meta for part in system.parts for tensor in getattr(system, part).state_dict().values())
    assert system.info["purpose"]
    if name != "features":  # one codec is kept once
        same(load_codec("default", MelAutoencoder)[1], system.codec)


def test_an_unknown_name_names_what_ships():
    with pytest.raises(ModelError, match=r"'lute' is neither a model folder .* nor a shipped model"):
        load_system("lute")


def test_a_system_that_is_not_registered_is_not_saved(folder, tmp_path):
    @dataclasses.dataclass(kw_only=True)
    class Other(CodecSystem):
        pass

    system = Other(mel=MelConfig(**MEL), codec=MelAutoencoder(AutoencoderConfig(width=8)))
    with pytest.raises(TypeError, match="Other is not registered"):
        save_system(tmp_path / "other", system)


def test_a_name_too_long_for_a_file_is_no_model():
    with pytest.raises(ModelError, match="is neither a model folder") as refused:
        load_system("x" * 5000)
    assert len(str(refused.value)) < 1000


def test_loading_imports_no_compiler():
    """Some operations on networks without memory import torch._dynamo, which takes two seconds."""
    code = "import sys, timbrel; timbrel.load(); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
