from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from timbrel.cli.main import main
from timbrel.data.report_001.pictures import CONFIG, invert_picture, read_mel, read_picture, write_picture
from timbrel.errors import InputError


def test_a_picture_is_read_as_the_report_reads_it(tmp_path: Path):
    mel = torch.rand(128, 130, generator=torch.Generator().manual_seed(0)) * 100 - 120
    write_picture(tmp_path / "a.png", mel)
    picture = read_picture(tmp_path / "a.png")
    assert (picture.shape, picture.dtype) == ((1, 128, 128), torch.float32)
    assert (float(picture.min()), float(picture.max())) == (0.0, 1.0)
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal((picture[0] * 255).round().numpy(), pixels[:, :128])


def test_the_level_comes_back(tmp_path: Path):
    mel = torch.rand(128, 130, generator=torch.Generator().manual_seed(0)) * 100 - 120
    write_picture(tmp_path / "a.png", mel)
    write_picture(tmp_path / "softer.png", mel - 20)
    assert read_picture(tmp_path / "a.png").equal(read_picture(tmp_path / "softer.png"))
    heard = mel.clamp_min(float(mel.max()) - 80)
    assert float((read_mel(tmp_path / "a.png") - heard).abs().max()) < 0.17  # half of 80 dB / 255
    np.testing.assert_allclose(read_mel(tmp_path / "softer.png"), read_mel(tmp_path / "a.png") - 20, atol=2e-3)


def picture_of_size(path: Path, width: int, height: int) -> Path:
    Image.new("L", (width, height)).save(path)
    return path


def with_peak(path: Path, text: str) -> Path:
    info = PngInfo()
    info.add_text("peak_db", text)
    Image.new("L", (130, 128)).save(path, pnginfo=info)
    return path


def cut(path: Path) -> Path:
    write_picture(path, torch.rand(128, 130))
    path.write_bytes(path.read_bytes()[:5000])
    return path


def jpeg(path: Path) -> Path:
    Image.new("L", (130, 128)).save(path, "JPEG")
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path, "cannot be read"),
        (lambda path: (path.touch(), path)[1], "cannot be read"),
        (cut, "cannot be read"),
        (jpeg, "cannot be read"),
        (lambda path: picture_of_size(path, 130, 64), "64 high"),
        (lambda path: with_peak(path, "loud"), "cannot be read"),
        (lambda path: with_peak(path, "nan"), "peak_db is nan"),
        (lambda path: with_peak(path, "1e9"), "peak_db is 1"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, make, reason: str):
    with pytest.raises(InputError, match=reason):
        read_mel(make(tmp_path / "a.png"))


def test_a_narrow_picture_has_sound_but_is_no_training_picture(tmp_path: Path):
    path = picture_of_size(tmp_path / "a.png", 100, 128)
    assert invert_picture(path).shape == (1, 99 * CONFIG.hop_length)
    with pytest.raises(InputError, match="100 wide"):
        read_picture(path)


def test_sound_refuses_before_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        picture_of_size(folder / "x.png", 130, 128)
    assert main(["data", "sound", *(str(f / "x.png") for f in folders), "-o", str(tmp_path / "out")]) == 2
    assert "would both become" in capsys.readouterr().err
    (folders[1] / "y.png").write_bytes(b"no picture")
    assert (
        main(["data", "sound", str(folders[0] / "x.png"), str(folders[1] / "y.png"), "-o", str(tmp_path / "out")]) == 2
    )
    assert "y.png cannot be read" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
