"""Networks that are kept alone: a codec, which other systems are trained over, and the features of sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from timbrel.audio.mel import MelConfig
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.models.features import FeatureConfig, FeatureNetwork
from timbrel.models.picture_autoencoder import PictureAutoencoder
from timbrel.models.report import ReportCodec
from timbrel.systems.base import System


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
