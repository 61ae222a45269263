"""The contracts: what all systems have in common, what those over a diffusion model have, and what transfers styles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from timbrel.audio.mel import MelConfig
from timbrel.bounds import Bounds, Timesteps
from timbrel.diffusion.schedules import (
    NoiseSchedule,
    cosine_schedule,
    inference_timesteps,
    linear_schedule,
    scaled_linear_schedule,
)
from timbrel.errors import InputError, ModelError


class Codec(Protocol):
    """Sound or pictures <-> latents of unit variance, whose sides are the input's divided by `factor`."""

    factor: int
    config: Any

    def encode(self, mel: Tensor, /) -> Tensor:
        """[batch, channels, height, width] -> latents [batch, c, h, w]."""

    def decode(self, latents: Tensor, /) -> Tensor:
        """Latents [batch, c, h, w] -> [batch, channels, h * factor, w * factor]."""


@dataclass(frozen=True)
class ScheduleConfig:
    kind: str = "cosine"
    num_train_timesteps: Timesteps = 1000
    prediction_type: str = "sample"
    zero_terminal_snr: bool = True

    def build(self) -> NoiseSchedule:
        """The schedule's table, which is on the CPU wherever networks are made."""
        kinds = {"cosine": cosine_schedule, "linear": linear_schedule, "scaled_linear": scaled_linear_schedule}
        if (make := kinds.get(self.kind)) is None:
            raise InputError(f"schedule is {self.kind!r}; expected 'cosine', 'linear' or 'scaled_linear'")
        with torch.device("cpu"):
            return make(
                self.num_train_timesteps,
                prediction_type=self.prediction_type,
                zero_terminal_snr=self.zero_terminal_snr,
            )


@dataclass(frozen=True)
class Sampling:
    """How a model is best sampled, where a call does not say: `info["sampling"]` of its config.json."""

    steps: Annotated[int, Bounds(1, 100_000)] = 1
    guidance: Annotated[float, Bounds(-100, 100)] = 1.0
    eta: Annotated[float, Bounds(0, 1)] = 0.0  # of `ddim`: how much of the noise is drawn anew in each step
    temperature: Annotated[float, Bounds(0, 1)] = 1.0  # of that noise
    timestep_shift: Annotated[float, Bounds(0.01, 100)] = 1.0  # `GenerateSystem`: above 1 more steps where it is noisy
    word_noise: Annotated[float, Bounds(0, 10)] = 0.0  # `GenerateSystem`: a take's, over the length of a word's vector


@dataclass(kw_only=True)
class System(ABC):
    """Networks that belong together, the settings that they work with, and what is known of them.

    A system that can be kept in a model folder has a line in `timbrel.systems.SYSTEMS`, and says:

    Attributes:
        parts: for each network its classes by the short name that config.json has. The network is the attribute, and
            its weights the file, of the part's name. Its class takes a dataclass of settings first, and keeps it as
            `config`.
        exact: the parts whose weights are kept in float32; those of the others are kept in bfloat16.
    """

    parts: ClassVar[Mapping[str, Mapping[str, type[nn.Module]]]] = {}
    exact: ClassVar[frozenset[str]] = frozenset({"codec"})

    mel: MelConfig
    info: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(cls, *settings: Any, **more: Any) -> Any:
        """With fresh weights. Its arguments are what config.json holds, by name: the `codec` as a network, of the other
        parts the settings, and `settings`. Annotations say of which types they are."""
        raise TypeError(f"a {cls.__name__} is made from another system: it has no folder")

    def settings(self) -> dict[str, Any]:
        """The arguments of `build` that are no parts: plain values, or dataclasses of them."""
        return {"mel": self.mel}

    def instrument_names(self) -> list[str]:
        """The instruments that it plays by name."""
        return []

    def check(self) -> None:  # noqa: B027
        """Raises ModelError where parts do not fit each other, which the shapes of their weights do not show."""


@dataclass(kw_only=True)
class DiffusionSystem(System):
    """A denoiser of a codec's latents."""

    codec: Codec
    denoiser: Any  # a network; which one, a subclass says
    schedule_config: ScheduleConfig
    schedule: NoiseSchedule = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.schedule = self.schedule_config.build()

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"schedule": self.schedule_config}

    def check(self) -> None:
        channels = (self.codec.config.latent_channels, self.denoiser.config.latent_channels)
        require_equal("latent_channels of codec and denoiser", *channels)
        steps = self.info.get("sampling", {}).get("steps", 1)
        if steps > self.schedule.num_train_timesteps:
            raise ModelError(
                f"info.sampling.steps is {steps}; expected at most {self.schedule.num_train_timesteps}, the schedule's"
            )

    def decode(self, latents: Tensor) -> Tensor:
        """Sampled latents [batch, c, h, w] -> mel in dB, as it is to be heard."""
        return self.codec.decode(latents)


@dataclass(kw_only=True)
class StyleTransfer(DiffusionSystem):
    """What plays a recording on another instrument: a content with a style.

    It works on windows of `window` frames of latents, which the pipeline cross-fades over `overlap`. `style` is the
    network that makes tokens of a clip, where there is one. `instruments` are styles by name: tokens [n, token_width].
    """

    style: nn.Module | None = None
    instruments: dict[str, Tensor] = field(default_factory=dict)

    def instrument_names(self) -> list[str]:
        return sorted(self.instruments)

    @property
    @abstractmethod
    def window(self) -> int: ...

    @property
    @abstractmethod
    def overlap(self) -> int: ...

    @property
    @abstractmethod
    def token_width(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        return next(self.denoiser.parameters()).device

    def to(self, device: torch.device) -> Self:
        """Moves its networks."""
        for value in vars(self).values():
            if isinstance(value, nn.Module):
                value.to(device)
        return self

    def check_sampling(self, steps: int, guidance: float) -> None:
        """Raises InputError for what `sample` cannot do, before there is work."""
        inference_timesteps(self.schedule, steps)

    @abstractmethod
    def style_tokens(self, mel: Tensor) -> Tensor:
        """Mel of a reference clip in dB [1, 1, n_mels, frames] -> its tokens [n, token_width]; those of several clips
        of one instrument may be put one after the other."""

    @abstractmethod
    def sample(
        self, content: Tensor, tokens: Tensor, noise: Tensor, *, steps: int, guidance: float, strength: float
    ) -> Tensor:
        """Latents [1, c, h, w] of a content played with a style.

        Args:
            content: latents of the source.
            tokens: [n, token_width], of `style_tokens`.
            noise: standard normal, in the content's shape.
            steps: of the sampler.
            guidance: on style; 1 is as learned.
            strength: 0-1, for a system whose way from the content may be shorter.
        """


def require_equal(what: str, *sizes: float) -> None:
    """Raises ModelError where sizes that are to be one are not."""
    if len(set(sizes)) > 1:
        raise ModelError(f"{what} are {' and '.join(f'{size:g}' for size in sizes)}; expected one value")
