"""Audio encoders for the full-size painter (report 004, section 4.1.1): music -> hidden states over time.

Each is frozen. The report's is BEATs, whose weights a user has to fetch; AST is of the same kind (a transformer over
patches of 16 x 16 of a mel, of 12 layers). Hidden states of layers 4, 8 and 12 stand side by side, as in the report; of
CLAP's tower, whose layers differ in size, the last one's. Patches of one moment are averaged over the frequencies. More
moments than the report's 248 are averaged down to that.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.audio.mel import mel_spectrogram
from timbrel.audio.musicnn import SAMPLE_RATE, full_scale, moments
from timbrel.errors import InputError, MissingDependencyError
from timbrel.models.musicnn import Musicnn
from timbrel.systems.alone import FeaturesSystem
from timbrel.systems.folder import load_system
from timbrel.systems.foreign import BEATS_STATE, from_transformers, load_beats
from timbrel.systems.picture import PictureSystem

MOST_MOMENTS = 248
LAYERS = (1 / 3, 2 / 3, 1)  # of all layers: 4, 8 and 12 of 12
PIECE_S = 3.0  # of our own features
BEATS_MEAN, BEATS_STD = 15.41663, 6.55582  # of AudioSet's log-mels, of which it was trained on


class Ear(nn.Module):
    """An audio encoder, whose networks are frozen.

    Attributes:
        kind: of `EARS`.
        source: where its weights are: a folder, OWNER/REPO on the Hugging Face hub, or "" for what ships.
    """

    kind: ClassVar[str]
    sample_rate: int
    width: int

    def __init__(self, source: str = "") -> None:
        super().__init__()
        self.source = source

    @torch.inference_mode()
    def hear(self, waveform: Tensor) -> Tensor:
        """Music [samples] at `sample_rate`, at any level -> features [moments, width].

        Raises:
            InputError: no samples.
        """
        return self._hear(full_scale(waveform))

    def _hear(self, waveform: Tensor) -> Tensor:
        raise NotImplementedError

    def _windows(self, waveform: Tensor, seconds: float) -> Tensor:
        """All of the music [samples] in windows [n, samples]: the last ends where the music does, and overlaps the one
        before. What is shorter than a window is repeated."""
        length = round(seconds * self.sample_rate)
        if len(waveform) < length:
            return waveform.repeat(-(-length // len(waveform)))[None, :length]
        windows = waveform.unfold(0, length, length)
        return torch.cat([windows, waveform[None, -length:]]) if len(waveform) % length else windows


class WindowEar(Ear):
    """Hears a window at a time, each of many moments; of the whole music at most `MOST_MOMENTS`."""

    window_s: float

    def _hear(self, waveform: Tensor) -> Tensor:
        windows = self._windows(waveform, self.window_s)
        heard, length = [self._window(window) for window in windows], windows.shape[1]
        if len(heard) > 1 and (rest := len(waveform) % length):  # the window before has the others
            heard[-1] = heard[-1][-math.ceil(rest / length * len(heard[-1])) :]
        return _at_most(torch.cat(heard))

    def _window(self, window: Tensor) -> Tensor:
        """A window [samples] -> its moments [n, width]."""
        raise NotImplementedError


class MusicnnEar(Ear):
    """musicnn, as it ships in the small painter."""

    kind = "musicnn"
    sample_rate = SAMPLE_RATE
    width = Musicnn.hidden_width

    def __init__(self, source: str = "") -> None:
        super().__init__(source)
        self.network = load_system("picture", PictureSystem).audio

    def _hear(self, waveform: Tensor) -> Tensor:
        return self.network.hidden(moments(waveform))


class FeaturesEar(Ear):
    """The feature network of `timbrel train features`; without a source the one that ships."""

    kind = "timbrel-features"

    def __init__(self, source: str = "") -> None:
        super().__init__(source)
        system = load_system(source or "features", FeaturesSystem)
        self.network, self.mel = system.features, system.mel
        self.sample_rate, self.width = system.mel.sample_rate, system.features.config.embedding

    def _hear(self, waveform: Tensor) -> Tensor:
        return self.network.embed(mel_spectrogram(self._windows(waveform, PIECE_S)[:, None], self.mel))


class ASTEar(WindowEar):
    """The Audio Spectrogram Transformer (Gong et al. 2021, arXiv 2104.01778) through transformers: windows of 10 s."""

    kind = "ast"

    def __init__(self, source: str = "") -> None:
        super().__init__(source or "MIT/ast-finetuned-audioset-10-10-0.4593")
        self.network, self.extractor = from_transformers(self.source, "ASTModel", "ASTFeatureExtractor", kind="AST")
        self.network.eval().requires_grad_(False)
        config = self.network.config
        self.sample_rate = int(self.extractor.sampling_rate)
        self.window_s = config.max_length / 100  # frames of 10 ms
        self.width = len(LAYERS) * config.hidden_size
        self.rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1

    def _window(self, window: Tensor) -> Tensor:
        inputs = self.extractor(window.numpy(), sampling_rate=self.sample_rate, return_tensors="pt")
        states = self.network(**inputs, output_hidden_states=True).hidden_states
        chosen = [states[round(share * (len(states) - 1))][0, 2:] for share in LAYERS]  # two tokens stand before
        return torch.cat([state.unflatten(0, (self.rows, -1)).mean(0) for state in chosen], dim=1)


class ClapEar(WindowEar):
    """CLAP's audio tower (Wu et al. 2023, arXiv 2211.06687) through transformers: windows of 10 s."""

    kind = "clap"

    def __init__(self, source: str = "") -> None:
        super().__init__(source or "laion/clap-htsat-unfused")
        self.network, self.extractor = from_transformers(
            self.source, "ClapAudioModel", "ClapFeatureExtractor", kind="CLAP"
        )
        self.network.eval().requires_grad_(False)
        self.sample_rate = int(self.extractor.sampling_rate)
        self.window_s = self.extractor.nb_max_samples / self.sample_rate
        self.width = int(self.network.config.hidden_size)

    def _window(self, window: Tensor) -> Tensor:
        inputs = self.extractor(window.numpy(), sampling_rate=self.sample_rate, return_tensors="pt")
        longer = torch.zeros(1, 1, dtype=torch.bool)  # "fused" models hear a longer window at random
        state = self.network(input_features=inputs["input_features"], is_longer=longer).last_hidden_state
        return state[0].mean(1).T  # of [width, frequencies, moments]


class BEATsEar(WindowEar):
    """BEATs from a checkpoint file, the report's encoder: windows of 10 s, as it was trained on."""

    kind = "beats"
    sample_rate = 16000
    window_s = 10.0

    def __init__(self, source: str = "") -> None:
        super().__init__(source)
        if not source:
            raise InputError(f"the audio encoder 'beats' needs its weights; expected the file of {BEATS_STATE}")
        self.network = load_beats(source)
        self.width = len(LAYERS) * self.network.config.width

    def _window(self, window: Tensor) -> Tensor:
        config = self.network.config
        states = self.network(beats_mel(window, config.n_mels)[None])
        chosen = [states[round(share * len(states)) - 1][0] for share in LAYERS]
        rows = config.n_mels // config.patch
        return torch.cat([state.unflatten(0, (-1, rows)).mean(1) for state in chosen], dim=1)


def beats_mel(window: Tensor, n_mels: int) -> Tensor:
    """Music [samples] at 16 kHz -> what BEATs sees [frames, n_mels]: Kaldi's log-mel in frames of 10 ms, about unit.

    Raises:
        MissingDependencyError: transformers, which has Kaldi's filters, is not installed.
    """
    try:
        from transformers.audio_utils import mel_filter_bank, spectrogram, window_function
    except ImportError as error:
        raise MissingDependencyError(f"BEATs needs transformers ({error}): pip install 'timbrel[hub]'") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filter")  # has no bin, as in Kaldi
        filters = mel_filter_bank(257, n_mels, 20, 8000, 16000, mel_scale="kaldi", triangularize_in_mel_space=True)
    mel = spectrogram(
        2**15 * window.numpy().astype(np.float64),  # Kaldi's samples are integers of 16 bits
        window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        remove_dc_offset=True,
        mel_filters=filters,
        mel_floor=1.192092955078125e-07,
        log_mel="log",
    )
    return torch.from_numpy((mel.T - BEATS_MEAN) / (2 * BEATS_STD)).float()


EARS: dict[str, Callable[[str], Ear]] = {ear.kind: ear for ear in (MusicnnEar, FeaturesEar, ASTEar, ClapEar, BEATsEar)}


def load_ear(kind: str, source: str = "") -> Ear:
    """The audio encoder of that kind.

    Raises:
        InputError: an unknown kind, or BEATs without a source.
        ModelError: the source cannot be read.
        MissingDependencyError: transformers is not installed, and the encoder is one of its.
    """
    if type(kind) is not str or kind not in EARS:
        raise InputError(f"audio encoder {kind!r:.60} is unknown; expected one of {', '.join(EARS)}")
    return EARS[kind](source)


def _at_most(features: Tensor) -> Tensor:
    """Moments [n, width] averaged down to `MOST_MOMENTS`."""
    if len(features) <= MOST_MOMENTS:
        return features
    return F.adaptive_avg_pool1d(features.T[None], MOST_MOMENTS)[0].T
