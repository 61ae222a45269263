"""Networks that others trained, from files on this machine or on the Hugging Face hub."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from timbrel.bounds import Width
from timbrel.errors import InputError, MissingDependencyError, ModelError, TimbrelError
from timbrel.models.beats import BEATs
from timbrel.models.features import LPIPS, VGGish
from timbrel.systems import HUB

VGGISH = "a VGGish state dict: features.0.weight ... embeddings.4.bias, 72,141,184 numbers"
LPIPS_STATE = (
    "LPIPS's: torchvision's AlexNet or VGG16 (features.0.weight ...) and the heads (lin0.model.1.weight ... "
    "lin4.model.1.weight), in one file or in two, joined by a comma"
)
BEATS_STATE = (
    "a BEATs encoder: a checkpoint of github.com/microsoft/unilm/tree/master/beats, say BEATs_iter3_plus_AS2M.pt, or "
    "the tensors of its 'model' as .safetensors"
)
BEATS_SETTINGS = {"layer_norm_first": False, "deep_norm": True, "gru_rel_pos": True, "max_distance": 800}

Loaded = TypeVar("Loaded")


def load_vggish(files: str | Path) -> VGGish:
    """Reads VGGish's weights, which timbrel does not bring, from a state dict.

    Args:
        files: see `load_published_network`.

    Raises:
        ModelError: the file is missing, unreadable or of another network.
        MissingDependencyError: it is on the hub, and the extra [hub] is not installed.
    """
    with _published(files, VGGISH) as tensors:
        return VGGish.from_state_dict(tensors)


def load_published_network(files: str | Path) -> VGGish | LPIPS:
    """Reads a network trained by others, whose feature maps tell pictures apart: whichever the state dict is of.

    Args:
        files: a .safetensors file or one of torch's (.pth), on this machine, or `hf:OWNER/REPO/FILE` on the Hugging
            Face hub. Of several, joined by commas, the weights are taken together.

    Raises:
        ModelError: a file is missing or unreadable, or they are of another network.
        MissingDependencyError: one is on the hub, and the extra [hub] is not installed.
    """
    with _published(files, f"{VGGISH}; or {LPIPS_STATE}") as tensors:
        return (LPIPS if LPIPS.fits(tensors) else VGGish).from_state_dict(tensors)


def load_beats(file: str | Path) -> BEATs:
    """Reads BEATs' weights, which timbrel does not bring.

    Args:
        file: see `load_published_network`; a checkpoint has `cfg` and `model`.

    Raises:
        ModelError: the file is missing, unreadable, of another network, or of a BEATs that differs from the published.
        MissingDependencyError: it is on the hub, and the extra [hub] is not installed.
    """
    with _published(file, BEATS_STATE, _beats_weights) as tensors:
        return BEATs.from_state_dict(tensors)


def _beats_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    settings = checkpoint.get("cfg", BEATS_SETTINGS)
    if other := {k: settings.get(k) for k, value in BEATS_SETTINGS.items() if settings.get(k) != value}:
        raise ValueError(f"its settings have {other}; expected {BEATS_SETTINGS}")
    return checkpoint.get("model", checkpoint)


@dataclass(frozen=True)
class CLIPTextConfig:
    """`source`: a folder, or OWNER/REPO on the Hugging Face hub, of CLIP's text model and its tokenizer."""

    source: str
    width: Width = 768


class CLIPText(nn.Module):
    """CLIP's text model (Radford et al. 2021, arXiv 2103.00020) as a text encoder: 77 tokens of 768 for report 002's.

    It stays as it was trained, and is read where it is when it is first used: a model folder holds its `source` alone.
    """

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self._loaded: list[Any] = []  # a list hides the network from this one's own weights

    @classmethod
    def of(cls, network: Any, tokenizer: Any, source: str) -> CLIPText:
        """With transformers' text model and tokenizer that are loaded already; `source` says from where."""
        text = cls(CLIPTextConfig(source, network.config.hidden_size))
        text._loaded = [network.eval().requires_grad_(False), tokenizer]
        return text

    def read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts as numbers of tokens [n, length], and mask [n, length]: as in Stable Diffusion, padding counts.

        Raises:
            InputError: an empty text.
            ModelError: the source is no CLIP of that width.
            MissingDependencyError: the extra [hub] is not installed.
        """
        if not all(map(self.knows, texts)):
            raise InputError("the text is empty; expected words for what is to be heard")
        return self._numbers(texts)

    def _numbers(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        network, tokenizer = self._load()
        length = network.config.max_position_embeddings
        ids = tokenizer(
            list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        return ids, torch.ones_like(ids, dtype=torch.bool)

    def nothing(self) -> Tensor:
        """The tokens of the empty text [length, width], which Stable Diffusion has for no text."""
        tokens: Tensor = self(*self._numbers([""]))[0][0]
        return tokens

    @torch.no_grad()
    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What `read` gives -> tokens [n, length, width] and their mask."""
        network = self._load()[0].to(ids.device)
        return network(ids).last_hidden_state.float().clone(), mask

    def knows(self, text: str) -> bool:
        """Whether `read` takes a text."""
        return bool(text.strip())

    def simplified(self, text: str) -> str:
        """The text: it has seen more than training's captions."""
        return text

    def unknown_words(self, text: str) -> list[str]:
        """None: it has tokens for everything."""
        return []

    def _load(self) -> list[Any]:
        if not self._loaded:
            network, tokenizer = from_transformers(self.config.source, "CLIPTextModel", "CLIPTokenizer")
            if network.config.hidden_size != self.width:
                raise ModelError(
                    f"{self.config.source} has tokens of {network.config.hidden_size}; expected {self.width}, the "
                    "text encoder's width in the model"
                )
            self._loaded = [network.eval().requires_grad_(False), tokenizer]
        return self._loaded


def from_transformers(source: str, *names: str, kind: str = "CLIP") -> list[Any]:
    """Classes of transformers by name, each loaded from a folder or the hub."""
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(f"{source} needs transformers ({error}): pip install 'timbrel[hub]'") from error
    try:
        return [local_first(getattr(transformers, name).from_pretrained, source) for name in names]
    except (OSError, ValueError, RuntimeError) as error:
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise ModelError(
            f"{source} cannot be read as {kind} ({reason}); expected a folder or OWNER/REPO with "
            f"{' and '.join(names)}, and a network the first time, with HF_HUB_OFFLINE unset"
        ) from error


@contextmanager
def _published(
    files: str | Path, expected: str, weights: Callable[[dict[str, Any]], dict[str, Tensor]] = dict
) -> Iterator[dict[str, Tensor]]:
    """The tensors of a state dict, to make a network of: whatever is wrong with them is said. `weights` takes them out
    of a file that has more."""
    try:
        tensors: dict[str, Tensor] = {}
        for name in [str(files)] if Path(files).exists() else str(files).split(","):
            path = Path(_from_hub(name) if name.startswith(HUB) else name)
            if path.suffix == ".safetensors":
                state = load_file(path)
            else:  # weights_only: a pickle may otherwise run anything
                state = torch.load(path, map_location="cpu", weights_only=True)
            tensors |= {key: t.float() for key, t in weights(state).items()}
        yield tensors
    except TimbrelError:
        raise
    except Exception as error:  # torch.load raises nearly anything on what is no state dict
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise ModelError(f"{files} cannot be read as a network's weights ({reason}); expected {expected}") from error


def _from_hub(name: str) -> str:
    """The path of `hf:OWNER/REPO/FILE`, fetched once."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingDependencyError(f"{name} needs huggingface_hub ({error}): pip install 'timbrel[hub]'") from error
    owner, _, rest = name.removeprefix(HUB).partition("/")
    repository, _, file = rest.partition("/")
    if not (owner and repository and file):
        raise ModelError(f"{name!r} names no file on the hub; expected hf:OWNER/REPO/FILE")
    try:
        return local_first(hf_hub_download, f"{owner}/{repository}", file)
    except (OSError, ValueError) as error:
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise ModelError(
            f"{name} is not on this machine and cannot be fetched ({reason}); expected hf:OWNER/REPO/FILE, and a "
            "network the first time, with HF_HUB_OFFLINE unset. Or fetch the file elsewhere, and name it here"
        ) from error


def local_first(fetch: Callable[..., Loaded], *args: str) -> Loaded:
    """What is on this machine, else from the hub: without a network, asking there takes long to fail."""
    try:
        return fetch(*args, local_files_only=True)
    except (OSError, ValueError):
        return fetch(*args)
