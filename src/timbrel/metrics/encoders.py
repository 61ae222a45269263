"""What does an encoder hear in a recording? Networks that turn sound into vectors, behind one contract.

A distance between sets of recordings (`fad.py`, `kad.py`) is a distance between such vectors. It means nothing without
the encoder's name, so every result has that name, with eight digits of the weights. Four encoders are here; any object
with a `name`, a `sample_rate` and `embed` is one, too.

- **timbrel-features**: trained by `timbrel train features` on instrument labels. It needs nothing from elsewhere, and
  its distances compare with its own alone.
- **vggish**: VGGish (Hershey et al. 2017), which most published Fréchet audio distances use, with its exact front end
  (the resampling to 16 kHz apart). Its weights are a file that the user names.
- **clap**: CLAP (Wu et al. 2023) through transformers; which of its models is in the name.
- **musicnn**: the last layer but one of the tagger of `heard.py`, which was trained on real music. Its weights come
  with the musicnn package.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from timbrel.audio import vggish
from timbrel.audio.level import TARGET_RMS, active_rms, span_powers
from timbrel.audio.mel import mel_spectrogram
from timbrel.errors import InputError, MissingDependencyError, ModelError
from timbrel.metrics import heard
from timbrel.metrics.instrument import PIECE_S, pieces
from timbrel.systems.alone import FeaturesSystem
from timbrel.systems.folder import load_system
from timbrel.systems.foreign import load_vggish, local_first
from timbrel.systems.weights import fingerprint

BATCH = 16  # windows at a time
DEFAULT_CLAP = "laion/clap-htsat-unfused"


class Encoder(Protocol):
    """The contract. `name` goes into results; `sample_rate` in Hz is what `embed` expects."""

    name: str
    sample_rate: int

    def embed(self, waveform: NDArray) -> NDArray:
        """A mono waveform [samples], float32 in [-1, 1], -> embeddings of its windows [n, d], float32, n >= 1.

        Raises:
            InputError: another shape, nothing in it, NaN or infinite samples, or shorter than the encoder hears.
        """


class FeatureEncoder:
    """The feature network of a folder that `timbrel train features` made, on windows of 3 s."""

    def __init__(self, folder: str | Path | None = None) -> None:
        try:
            system = load_system("features" if folder is None else folder, FeaturesSystem)
        except ModelError as error:
            remedy = "`timbrel train features` makes such a folder; name it as the weights"
            raise ModelError(f"the encoder timbrel-features has no network: {error}. {remedy}") from error
        self.mel, network = system.mel, system.features
        self.name = f"timbrel-features:{fingerprint(network)}"
        self.sample_rate = self.mel.sample_rate
        self.device = _device()
        self.network = network.to(self.device)

    def embed(self, waveform: NDArray) -> NDArray:
        _validate(waveform)
        span = self.mel.hop_length
        rms = active_rms(span_powers(np.resize(waveform, max(len(waveform), span)), span))
        gain = np.float32(TARGET_RMS / max(rms, 1e-5))  # as loud as what it was trained on
        windows = pieces(waveform * gain, int(PIECE_S * self.sample_rate))

        def network(batch: Tensor) -> Tensor:
            return self.network.embed(mel_spectrogram(batch[:, None], self.mel).to(self.device))

        return _in_batches(network, windows)


class VGGishEncoder:
    """VGGish with the weights of the file `weights`: examples of 0.96 s, 128 numbers each."""

    sample_rate = vggish.SAMPLE_RATE

    def __init__(self, weights: str | Path | None = None) -> None:
        if weights is None:
            raise ModelError(
                "the encoder vggish has no weights, and timbrel brings none; expected the path of a VGGish state dict "
                "(.pth or .safetensors): name it as the weights, or take another encoder"
            )
        self.device = _device()
        self.network = load_vggish(weights).to(self.device)
        self.name = f"vggish:{fingerprint(self.network)}"

    def embed(self, waveform: NDArray) -> NDArray:
        _validate(waveform)
        length = min(len(waveform), vggish.EXAMPLE_LENGTH)  # a shorter one is refused by `examples`
        windows = np.lib.stride_tricks.sliding_window_view(waveform, length)[:: vggish.EXAMPLE_HOP]

        def network(batch: Tensor) -> Tensor:
            return self.network(torch.cat([vggish.examples(window) for window in batch]).to(self.device))

        return _in_batches(network, windows)


class ClapEncoder:
    """CLAP's audio half, from a hub id or a folder, on windows of 10 s: unit vectors.

    A longer window would be cut at random, and of a batch of short ones a "fused" model marks one by chance as
    longer: neither happens here, the same recording always gives the same embeddings.
    """

    def __init__(self, model: str | Path | None = None) -> None:
        try:
            from transformers import ClapFeatureExtractor, ClapModel
        except ImportError as error:
            raise MissingDependencyError(f"CLAP needs transformers ({error}): pip install 'timbrel[hub]'") from error
        source = DEFAULT_CLAP if model is None else str(model)
        self.device = _device()
        network = from_hub(ClapModel, source)
        model_name = Path(source).name if Path(source).is_dir() else source
        self.name = f"clap:{model_name}:{fingerprint(network)}"
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.extractor = from_hub(ClapFeatureExtractor, source)
        self.sample_rate = int(self.extractor.sampling_rate)

    def embed(self, waveform: NDArray) -> NDArray:
        _validate(waveform)
        length = min(len(waveform), int(self.extractor.nb_max_samples))  # the extractor pads a shorter one itself

        def network(batch: Tensor) -> Tensor:
            inputs = self.extractor(list(batch.numpy()), sampling_rate=self.sample_rate, return_tensors="pt")
            features = inputs["input_features"].to(self.device)
            longer = torch.zeros(len(batch), 1, dtype=torch.bool, device=self.device)
            output = self.network.get_audio_features(input_features=features, is_longer=longer)
            return getattr(output, "pooler_output", output)

        return _in_batches(network, pieces(waveform, length))


class MusicnnEncoder:
    """musicnn's last layer but one, on windows of 3 s at one peak: 200 numbers each."""

    sample_rate = heard.SAMPLE_RATE

    def __init__(self, weights: str | Path | None = None) -> None:
        if weights is not None:
            raise InputError(
                f"weights are {str(weights)!r}; the encoder musicnn takes none: they come with its package"
            )
        self.device = _device()
        self.network = copy.deepcopy(heard.load_musicnn()).to(self.device)
        self.name = f"musicnn:{fingerprint(self.network)}"

    def embed(self, waveform: NDArray) -> NDArray:
        _validate(waveform)
        patches = heard.patches(heard.at_full_scale(waveform, self.sample_rate)).numpy()
        return _in_batches(lambda batch: self.network.embed(batch.to(self.device)), patches)


ENCODERS: dict[str, Callable[[str | Path | None], Encoder]] = {
    "timbrel-features": FeatureEncoder,
    "vggish": VGGishEncoder,
    "clap": ClapEncoder,
    "musicnn": MusicnnEncoder,
}


def load_encoder(name: str, weights: str | Path | None = None) -> Encoder:
    """The encoder of that name.

    Args:
        name: one of `ENCODERS`.
        weights: a folder of `timbrel train features`; a VGGish state dict, of which `hf:OWNER/REPO/FILE` is one on the
            hub; a CLAP model's hub id or folder; of musicnn none.

    Raises:
        InputError: an unknown name, or weights for musicnn.
        ModelError: no weights, or they cannot be read.
        MissingDependencyError: CLAP without transformers, musicnn without its package, or a file on the hub without
            its client.
    """
    if name not in ENCODERS:
        raise InputError(f"encoder {name!r} is unknown; expected one of {', '.join(ENCODERS)}")
    return ENCODERS[name](weights)


def _validate(waveform: NDArray) -> None:
    if waveform.ndim != 1 or not len(waveform):
        raise InputError(f"waveform has shape {waveform.shape}; expected [samples], mono, not empty")
    if not np.isfinite(waveform).all():
        raise InputError("waveform has NaN or infinite samples; expected numbers in [-1, 1]")


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _in_batches(network: Callable[[Tensor], Tensor], windows: NDArray) -> NDArray:
    embeddings = []
    with torch.inference_mode():
        for i in range(0, len(windows), BATCH):
            batch = torch.from_numpy(np.array(windows[i : i + BATCH], np.float32))
            embeddings.append(network(batch).float().cpu().numpy())
    return np.concatenate(embeddings)


def from_hub(kind: Any, source: str, name: str = "CLAP", default: str = DEFAULT_CLAP) -> Any:
    try:
        return local_first(kind.from_pretrained, source)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(
            f"{source!r} cannot be read as a {name} model ({reason}); expected a folder with one, or a hub id, say "
            f"{default!r}, that is on this machine or can be fetched"
        ) from error
