"""Any length: windows and what is made of them do not depend on how the samples come."""

import numpy as np
import pytest
import torch

from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.pipelines.windows import CrossFade, Queue, Windows, flow, noise_at

CONFIG = MelConfig(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=32)
FRAMES, OVERLAP = 40, 8
MUSIC = np.random.default_rng(0).normal(0, 0.1, 300 * 256 + 77).astype(np.float32)


def cut(samples, size, transpose=0, overlap=OVERLAP):
    stage = Windows(CONFIG, FRAMES, overlap, transpose)
    parts = [samples[start : start + size] for start in range(0, len(samples), size)]
    return [*(window for part in parts for window in stage.push(part)), *stage.finish()]


@pytest.mark.parametrize("transpose", [0, 12])
def test_the_blocks_do_not_matter(transpose):
    for one, other in zip(cut(MUSIC, 1000, transpose), cut(MUSIC, len(MUSIC), transpose), strict=True):
        assert one.first_frame == other.first_frame
        torch.testing.assert_close(one.mel, other.mel, rtol=0, atol=0)
        np.testing.assert_array_equal(one.samples, other.samples)


@pytest.mark.parametrize("samples", [1, 255, 256, 39 * 256, 47 * 256 - 1, 47 * 256, 48 * 256, 79 * 256, len(MUSIC)])
@pytest.mark.parametrize("overlap", [1, 8])
def test_windows_cross_faded_are_the_mel_of_the_whole(samples, overlap):
    windows, fade = cut(MUSIC[:samples], 999, overlap=overlap), CrossFade(overlap)
    mel = torch.cat([*(fade.push(window.mel) for window in windows), fade.finish()], dim=-1)
    torch.testing.assert_close(mel, mel_spectrogram(torch.from_numpy(MUSIC[:samples])[None, None], CONFIG))
    np.testing.assert_array_equal(np.concatenate([window.samples for window in windows]), MUSIC[:samples])
    assert [window.first_frame for window in windows] == [k * (FRAMES - overlap) for k in range(len(windows))]
    *before, last = (window.mel.shape[-1] for window in windows)
    assert set(before) <= {FRAMES}
    assert not before or 2 * overlap <= last < FRAMES + overlap


def test_a_window_leaves_as_soon_as_it_is_known_that_more_than_a_fade_follows():
    stage = Windows(CONFIG, FRAMES, OVERLAP)
    assert not stage.push(MUSIC[: (FRAMES + OVERLAP - 1) * 256 - 1])
    assert len(stage.push(MUSIC[:1])) == 1
    assert not stage.push(MUSIC[:256])


def test_a_fade_goes_from_one_to_the_other():
    fade = CrossFade(5)
    first, second = fade.push(torch.zeros(1, 8)), fade.push(torch.ones(1, 12))
    assert not first.any()
    torch.testing.assert_close(second[0, :5], torch.linspace(0, 1, 5))
    torch.testing.assert_close(fade.finish(), torch.ones(1, 5))


def test_noise_belongs_to_the_moment():
    whole = noise_at(3, 0, (1, 4, 8, 100), 16)
    torch.testing.assert_close(noise_at(3, 37, (1, 4, 8, 20), 16), whole[..., 37:57], rtol=0, atol=0)
    assert abs(float(whole.std()) - 1) < 0.1
    assert float((whole - noise_at(4, 0, (1, 4, 8, 100), 16)).abs().mean()) > 0.5


class Late:
    """Gives each block with the next push."""

    def __init__(self):
        self.block = np.zeros((2, 0), np.float32)

    def push(self, block):
        before, self.block = self.block, block
        return before

    def finish(self):
        return self.block


def test_blocks_flow_through_stages_one_at_a_time():
    taken = []

    def blocks():
        for k in range(1, 5):
            taken.append(k)
            yield np.full((2, k), k, np.float32)

    stream = flow(blocks(), Late(), Late())
    assert next(stream).shape == (2, 1)
    assert taken == [1, 2, 3]
    assert [block.shape[1] for block in stream] == [2, 3, 4]


def test_a_queue_gives_any_number_of_samples():
    queue, rng = Queue(2), np.random.default_rng(0)
    given = rng.normal(size=(2, 100)).astype(np.float32)
    for start in range(0, 100, 7):
        queue.push(given[:, start : start + 7])
    np.testing.assert_array_equal(np.concatenate([queue.pop(n) for n in (0, 3, 4, 50, 43)], axis=1), given)
