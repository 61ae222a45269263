"""Networks that are kept alone: a codec, which other systems are trained over, and those that judge sound."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from timbrel.audio.mel import MelConfig
from timbrel.errors import ModelError
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.models.features import FeatureConfig, FeatureNetwork
from timbrel.models.listener import Listener, ListenerConfig
from timbrel.models.picture_autoencoder import PictureAutoencoder
from timbrel.models.report import ReportCodec
from timbrel.models.text import forms_of, text_vector
from timbrel.systems.base import System, require_equal

SHARPNESS = 20.0  # of likeness: names whose cosine is 0.1 lower than another's count for an eighth


@dataclass(kw_only=True)
class CodecSystem(System):
    parts: ClassVar = {
        "codec": {
            "mel-autoencoder": MelAutoencoder,
            "report-codec": ReportCodec,
            "picture-autoencoder": PictureAutoencoder,
        }
    }

    codec: Any  # one of those

    @classmethod
    def build(cls, mel: MelConfig, codec: Any) -> CodecSystem:
        return cls(mel=mel, codec=codec)


@dataclass(kw_only=True)
class FeaturesSystem(System):
    """A network that tells instruments apart; what it makes of a sound on the way says what sounds alike."""

    parts: ClassVar = {"features": {"feature-network": FeatureNetwork}}
    exact: ClassVar = frozenset({"features"})

    features: FeatureNetwork

    @classmethod
    def build(cls, mel: MelConfig, features: FeatureConfig) -> FeaturesSystem:
        return cls(mel=mel, features=FeatureNetwork(features))


@dataclass(kw_only=True)
class ListenerSystem(System):
    """A network that tells sounds apart, and says how well one fits a text."""

    parts: ClassVar = {"listener": {"listener": Listener}}

    listener: Listener

    @classmethod
    def build(cls, mel: MelConfig, listener: ListenerConfig) -> ListenerSystem:
        return cls(mel=mel, listener=Listener(listener))

    def check(self) -> None:
        super().check()
        config = self.listener.config
        require_equal("mel.n_mels and listener.n_mels", self.mel.n_mels, config.n_mels)
        require_equal("mel.floor_db and listener.floor_db", self.mel.floor_db, config.floor_db)
        if unknown := [name for name in config.names if not forms_of(name)]:
            raise ModelError(f"listener.names has {unknown[0]!r}; expected each to have a word of the table")

    @torch.inference_mode()
    def agreement(self, mel: Tensor, text: str) -> Tensor:
        """How well each of some sounds fits a text: [n], the logarithm of the probability of the classes whose names
        are like the text, over the highest that one sound can have: a text that is like two names is met by either.
        Of a text without a known word all sounds are alike: 0.

        Args:
            mel: dB [n, 1, n_mels, frames]; of a longer one the windows' mean counts.
            text: as `WordEncoder.simplified` gives it.
        """
        if not forms_of(text):
            return torch.zeros(len(mel))
        likeness = (SHARPNESS * (self._names @ text_vector(text))).log_softmax(dim=0)
        heard = torch.stack([self.listener(window).log_softmax(dim=1) for window in self._windows(mel)])
        return (heard + likeness).logsumexp(dim=2).mean(dim=0) - likeness.max()

    def _windows(self, mel: Tensor) -> list[Tensor]:
        """Windows of the length that the network knows, the last one at the sound's end; silence follows a shorter
        sound."""
        frames = self.listener.config.frames
        mel = F.pad(mel, (0, max(0, frames - mel.shape[-1])), value=self.mel.floor_db)
        last = mel.shape[-1] - frames
        return [mel[..., start : start + frames] for start in (*range(0, last, frames), last)]

    @functools.cached_property
    def _names(self) -> Tensor:
        """The directions of the classes' names [classes, 64]."""
        return torch.stack([text_vector(name) for name in self.listener.config.names])
