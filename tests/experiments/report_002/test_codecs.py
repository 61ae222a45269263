"""The comparison of codecs on a few windows: every row, its figures, the picture, and going on."""

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from timbrel.audio.mel import MelConfig
from timbrel.data.store import Entry, StoreWriter
from timbrel.errors import InputError
from timbrel.experiments.report_002 import codecs


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("codecs") / "store", np.random.default_rng(0)
    writer = StoreWriter(folder, MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32))
    for number, split in enumerate(("train", "validation")):
        levels = (100 + 80 * np.sin(np.arange(32) / 3) + rng.integers(0, 20, (40, 32))).astype(np.uint8)
        writer.add(Entry(id=f"e{number}", label="flute", split=split, frames=40, source=f"{number}"), levels)
    return folder


@pytest.fixture(scope="module")
def out(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    codecs.compare(store, folder, steps=2, windows=3)
    return folder


def test_every_codec_is_trained_measured_and_drawn(store, out):
    rows = codecs.compare(store, out, steps=2, windows=3)
    # the store's mels are not those of the codec that ships
    assert list(rows) == ["ours", "untrained", "kl-vae", "vq-vae", "mae"]
    assert rows["ours"]["lsd_db"]["mean"] < rows["kl-vae"]["lsd_db"]["mean"]  # its projection alone is near
    assert {name: row["latents"] for name, row in rows.items()} == {
        "ours": 0.5,
        "untrained": 0.5,
        "kl-vae": 0.5,
        "vq-vae": 0.5,
        "mae": 128 * 17 / 32**2,  # 16 patches and the class token
    }
    assert all(row["run_s"] > 0 and row["parameters"] > 1000 for row in rows.values())
    assert {name for name, row in rows.items() if "train_s" not in row} == {"untrained"}
    assert (out / "codecs.png").stat().st_size > 1000
    assert "| KL-VAE |" in codecs.codecs_table(rows).markdown()


def test_a_row_that_is_done_stays_and_other_settings_are_refused(store, out):
    (out / "mae.json").write_text((out / "mae.json").read_text().replace('"parameters": ', '"parameters": 1'))
    assert codecs.compare(store, out, steps=2, windows=3)["mae"]["parameters"] > 1_000_000
    with pytest.raises(InputError, match="steps"):
        codecs.compare(store, out, steps=3, windows=3)


def test_what_is_measured_is_known_of_mels_by_hand():
    mel = torch.full((1, 4, 3), -100.0)
    mel[:, :, 1] = torch.tensor([-20.0, -40.0, -20.0, -40.0])
    assert codecs.distance(mel, mel + 3) == pytest.approx(3)  # silent frames do not count
    decoded = mel.clone()
    decoded[:, :, 1] = torch.tensor([-25.0, -35.0, -25.0, -35.0])
    assert codecs.distance(mel, decoded) == pytest.approx(5)
    assert codecs.detail(mel, decoded) == pytest.approx(0.5)
    decoded[:, 0, 0] = -50  # where nothing sounds
    assert codecs.detail(mel, decoded) == pytest.approx(0.5)


def test_codecs_give_back_what_they_hold(store, tmp_path, monkeypatch):
    """What `encode` and `decode` do together is what training saw, without its noise and its masks."""
    monkeypatch.setattr(codecs, "MASKED_SHARE", 0.0)
    run = codecs.Comparison(store, tmp_path, 1, 1, 2, 0)
    mel = run.held_out()
    for name in ("vq-vae", "mae", "ours"):
        codec = run.fresh(name).eval()
        with torch.no_grad():
            torch.testing.assert_close(codec.decode(codec.encode(mel)), codec.rebuilt(mel)[0], atol=1e-3, rtol=0)
