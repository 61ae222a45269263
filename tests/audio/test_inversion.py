import math
import shutil
import time
from collections.abc import Callable

import librosa
import numpy as np
import pytest
import torch

from timbrel.audio import inversion
from timbrel.audio.inversion import StreamInverter, invert_mel
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.data.render import LIBRARIES, render
from timbrel.data.scores import Note
from timbrel.errors import InputError
from timbrel.instruments import INSTRUMENTS

SMALL = MelConfig(sample_rate=22050, n_fft=2048, hop_length=512)
DEFAULT = MelConfig()


def music(seconds: float, sample_rate: int, seed: int = 0) -> torch.Tensor:
    """Struck chords with vibrato and a noisy attack, [1, 1, samples]."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * sample_rate)
    out = np.zeros(samples + sample_rate)
    t = np.arange(sample_rate) / sample_rate
    envelope = np.minimum(1, t / 0.003) * (1 - t)
    for start in np.arange(0, seconds, 0.25):
        for pitch in rng.integers(50, 85, 2):
            hz = 440 * 2 ** ((pitch - 69) / 12)
            vibrato = 0.003 * hz / 5 * np.sin(2 * np.pi * 5 * t)
            note = sum(
                np.sin(2 * np.pi * k * (hz * t + vibrato) + rng.uniform(0, 6)) / k * np.exp(-t * (1 + k))
                for k in range(1, 12)
                if k * hz < sample_rate / 2
            )
            attack = 0.1 * rng.standard_normal(len(t)) * np.exp(-t * 100)
            begin = round(start * sample_rate)
            part = (note + attack) * envelope * rng.uniform(0.2, 1)
            out[begin : begin + len(t)] += part
    out = out[:samples]
    return torch.from_numpy(0.9 * out / np.abs(out).max()).float()[None, None]


def lsd_frames(target: torch.Tensor, got: torch.Tensor, config: MelConfig) -> np.ndarray:
    """Log-spectral distance in dB of each frame, as the benchmark defines it (160 bands at 44.1 kHz)."""

    def db(waveform: torch.Tensor) -> np.ndarray:
        mel = librosa.feature.melspectrogram(
            y=waveform.flatten().numpy(),
            sr=config.sample_rate,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            n_mels=128 if config.sample_rate == 22050 else 160,
        )
        return librosa.power_to_db(mel, ref=np.max, top_db=80)

    return np.sqrt(((db(target) - db(got)) ** 2).mean(0))


@pytest.mark.parametrize(("config", "most"), [(SMALL, 1.95), (DEFAULT, 1.95)])
def test_mel_and_back_is_near_the_recording_in_spectrum_and_level(config: MelConfig, most: float) -> None:
    target = music(4, config.sample_rate)
    got = invert_mel(mel_spectrogram(target, config), config, length=target.shape[-1])
    assert got.shape == target.shape
    assert got.dtype == torch.float32

    assert lsd_frames(target, got, config).mean() < most
    level_db = 20 * math.log10(got.square().mean().sqrt() / target.square().mean().sqrt())
    assert abs(level_db) < 0.5


@pytest.mark.skipif(
    shutil.which("timidity") is None or LIBRARIES["timgm6mb"].path is None,
    reason="TiMidity++ or its library is not installed: apt-get install timidity timgm6mb-soundfont",
)
@pytest.mark.parametrize("config", [SMALL, DEFAULT])
@pytest.mark.parametrize("instrument", ["piano", "violin"])
def test_rendered_instruments_come_back_as_promised(instrument: str, config: MelConfig) -> None:
    pitches = [60, 64, 67, 72, 71, 67, 65, 62, 59, 55, 57, 60]
    notes = [Note(0.3 * i, 0.3 * i + 0.5, pitch) for i, pitch in enumerate(pitches)]
    played = render(notes, INSTRUMENTS[instrument].program, "timgm6mb", sample_rate=config.sample_rate, duration_s=4)
    target = torch.from_numpy(0.9 * played / np.abs(played).max())[None, None]
    got = invert_mel(mel_spectrogram(target, config), config, length=target.shape[-1])
    assert lsd_frames(target, got, config).mean() < 1.5


def test_more_steps_come_closer() -> None:
    target = music(3, 22050)
    mel = mel_spectrogram(target, SMALL)
    far, near = (lsd_frames(target, invert_mel(mel, SMALL, length=66150, num_iters=n), SMALL) for n in (0, 10))
    assert near.mean() < 0.8 * far.mean()


def test_a_source_gives_what_the_mel_does_not_tell() -> None:
    config = MelConfig(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=64)
    target = music(3, 22050)
    louder_above = target + 0.5 * torch.diff(target, prepend=target[..., :1])
    mel = mel_spectrogram(target, config)
    without = lsd_frames(target, invert_mel(mel, config, length=target.shape[-1]), config)
    given = lsd_frames(target, invert_mel(mel, config, source=louder_above), config)
    assert given.mean() < 0.5 * without.mean()


def test_a_silent_source_does_not_silence_the_mel() -> None:
    target = music(1, 22050)
    got = invert_mel(mel_spectrogram(target, SMALL), SMALL, source=torch.zeros_like(target))
    assert float(got.square().mean()) == pytest.approx(float(target.square().mean()), rel=0.1)


def test_batch_size_changes_nothing_and_the_seed_decides() -> None:
    mel = torch.cat([mel_spectrogram(music(1.5, 22050, seed), SMALL) for seed in (0, 1)])
    both = invert_mel(mel, SMALL, num_iters=4, seed=3)
    assert torch.equal(both[1:], invert_mel(mel[1:], SMALL, num_iters=4, seed=3))
    assert not torch.equal(both, invert_mel(mel, SMALL, num_iters=4, seed=4))


@pytest.mark.parametrize("with_source", [False, True])
@pytest.mark.parametrize("size", [1, 37, 1000])
def test_streaming_gives_the_same_samples(with_source: bool, size: int) -> None:
    target = music(5, 22050)[..., :109999]
    mel, hop = mel_spectrogram(target, SMALL), SMALL.hop_length
    source = target.flip(-1) if with_source else None
    whole = invert_mel(mel, SMALL, length=target.shape[-1], source=source, num_iters=2)
    stream = StreamInverter(SMALL, num_iters=2)
    parts = []
    for i in range(0, mel.shape[-1], size):
        part = None if source is None else source[..., i * hop : (i + size) * hop]
        parts.append(stream.push(mel[..., i : i + size], part))
    parts.append(stream.finish(target.shape[-1]))
    assert torch.equal(torch.cat(parts, -1), whole)
    assert whole.shape == target.shape


@pytest.mark.parametrize("samples", [1, 511, 512, 5000, 132 * 512 - 1, 132 * 512, 260 * 512])
def test_any_length_comes_out_to_the_sample(samples: int) -> None:
    mel = mel_spectrogram(0.1 * torch.randn(1, 1, samples), SMALL)
    got = invert_mel(mel, SMALL, length=samples, num_iters=1)
    assert got.shape == (1, 1, samples)
    assert got.isfinite().all()


@pytest.mark.parametrize("overlap", [2, 3, 8])
def test_other_hops_keep_the_level_across_segments(overlap: int) -> None:
    config = MelConfig(sample_rate=22050, n_fft=1024, hop_length=1024 // overlap, n_mels=80, norm="slaney")
    target = music(4, 22050)
    got = invert_mel(mel_spectrogram(target, config), config, length=target.shape[-1], num_iters=8)
    for part in (slice(0, 30000), slice(30000, 60000), slice(60000, None)):
        ratio = got[..., part].square().mean() / target[..., part].square().mean()
        assert abs(10 * math.log10(ratio)) < 0.5


def test_no_seam_between_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    target = music(18, 22050)
    mel = mel_spectrogram(target, SMALL)
    joined = lsd_frames(target, invert_mel(mel, SMALL, length=target.shape[-1]), SMALL)
    joins = np.zeros(len(joined), bool)
    for i in range(inversion.SEGMENT + 1, len(joined), inversion.SEGMENT):
        joins[i - 1 : i + 3] = True
    monkeypatch.setattr(inversion, "SEGMENT", len(joined))
    whole = lsd_frames(target, invert_mel(mel, SMALL, length=target.shape[-1]), SMALL)
    assert joins.sum() == 6 * 4
    assert not np.array_equal(joined, whole)
    assert 0.9 < joined[joins].mean() / whole[joins].mean() < 1.1
    assert 0.97 < joined.mean() / whole.mean() < 1.03


@pytest.mark.parametrize("at", [9900, 10240, 10300])
def test_a_stroke_stays_sharp(at: int) -> None:
    target = torch.zeros(1, 1, 22050)
    target[..., at] = 0.8
    got = invert_mel(mel_spectrogram(target, SMALL), SMALL, length=22050).abs()
    assert got.max() > 0.35
    assert abs(int(got.argmax()) - at) < 50


def test_nearer_and_much_faster_than_librosa() -> None:
    config = MelConfig(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, norm="slaney")
    target = music(3, 22050)
    mel = mel_spectrogram(target, config)
    power = 10 ** (mel[0, 0].numpy() / 10) * (config.n_fft / 4) ** 2

    def seconds(invert: Callable[[], object]) -> float:
        start = time.process_time()
        invert()
        return time.process_time() - start

    ours = invert_mel(mel, config, length=66150)
    theirs = torch.from_numpy(librosa.feature.inverse.mel_to_audio(power, sr=22050, n_iter=32, length=66150))
    assert lsd_frames(target, ours, config).mean() < 0.7 * lsd_frames(target, theirs, config).mean()
    fast = min(seconds(lambda: invert_mel(mel, config)) for _ in range(3))
    assert seconds(lambda: librosa.feature.inverse.mel_to_audio(power, sr=22050, n_iter=32)) > 10 * fast


def test_silence_stays_silence() -> None:
    mel = mel_spectrogram(torch.zeros(1, 1, 30000), SMALL)
    assert invert_mel(mel, SMALL).abs().max() == 0
    assert invert_mel(mel, SMALL, source=music(2, 22050)[..., :30000]).abs().max() == 0


MEL = torch.full((1, 1, 256, 10), -50.0)


@pytest.mark.parametrize(
    ("mel", "options"),
    [
        (MEL[0], {}),
        (MEL[:0], {}),
        (MEL[:, :, :80], {}),
        (MEL.expand(1, 2, -1, -1), {}),
        (MEL[..., :0], {}),
        (MEL * math.nan, {}),
        (MEL, {"length": 9 * 512 - 1}),
        (MEL, {"length": 10 * 512}),
        (MEL, {"num_iters": -1}),
        (MEL, {"source": torch.zeros(1, 5000)}),
        (MEL, {"source": torch.zeros(2, 1, 5000)}),
        (MEL, {"source": torch.zeros(1, 1, 9000)}),
        (MEL, {"source": torch.full((1, 1, 5000), math.inf)}),
    ],
)
def test_what_does_not_fit_is_refused(mel: torch.Tensor, options: dict) -> None:
    with pytest.raises(InputError, match="expected"):
        invert_mel(mel, SMALL, **options)


def test_a_source_for_some_frames_only_is_refused() -> None:
    stream = StreamInverter(SMALL)
    stream.push(MEL)
    with pytest.raises(InputError, match="every push"):
        stream.push(MEL, torch.zeros(1, 1, 5120))
