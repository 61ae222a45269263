"""Recipes: everything a training run depends on, as frozen dataclasses that need no torch. Each names its stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from timbrel.data.augmentation import Augmentation, Recording
from timbrel.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """What the loop reads, of any stage. `stage` is the place of the class that trains by such a recipe.

    The learning rate falls as a cosine to `min_learning_rate_ratio`; 1 keeps it constant. A batch is worked through in
    `accumulation` parts, whose gradients are summed up: less memory, the same step. With `keep_best` the model is that
    of the best validation, not the last one, which it is as long as no validation has given a figure.

    Raises:
        InputError: a value out of range.
    """

    stage: ClassVar[str]

    steps: int = 10000
    batch_size: int = 16
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup_steps: int = 200
    min_learning_rate_ratio: float = 0.02
    accumulation: int = 1
    keep_best: bool = False
    plateau_patience: int | None = None  # validations without a better loss before the learning rate shrinks
    plateau_factor: float = 0.5  # to how much
    plateau_floor: float = 1e-6  # and no further
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    precision: Literal["bf16", "fp32"] = "bf16"
    seed: int = 0
    checkpoint_every_s: float = 180.0
    validate_every: int = 1000
    log_every: int = 50
    max_minutes: float | None = None
    num_threads: int | None = None
    num_workers: int = 1
    frames: int = 256

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise InputError(f"precision is {self.precision!r}; expected 'bf16' or 'fp32'")
        positive = ("steps", "batch_size", "accumulation", "learning_rate", "clip_norm", "validate_every", "log_every")
        for name in positive:
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; expected more than 0")
        for name, weight in dataclasses.asdict(self).items():
            if name.endswith("_weight") and weight < 0:
                raise InputError(f"{name} is {weight:g}; expected 0 (without that term) or more")


RecipeT = TypeVar("RecipeT", bound=Recipe)


@dataclass(frozen=True)
class AutoencoderRecipe(Recipe):
    """Stage 1: mels through latents and back."""

    stage: ClassVar[str] = "timbrel.training.autoencoder:AutoencoderStage"

    latent_channels: int = 8
    width: int = 64
    num_blocks: int = 2
    difference_weight: float = 0.5


@dataclass(frozen=True)
class TransferRecipe(Recipe):
    """Stage 2: the latents of a target from those of a source and the style of a reference."""

    stage: ClassVar[str] = "timbrel.training.transfer:TransferStage"

    style_frames: int = 320
    style_width: int = 256
    width: int = 448
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    picture_width: int = 48
    picture_dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    schedule: Literal["cosine", "linear"] = "cosine"
    num_train_timesteps: int = 1000
    pure_noise_share: float = 0.85
    difference_weight: float = 1.0
    null_style_share: float = 0.08
    augment: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)
    noise_input: bool = True
    reconstruction_weight: float = 0.5
    level_weight: float = 1.0  # of the levels of groups of 16 bands
    feature_network: str = "features"  # a model's name or folder, of `timbrel train features`
    feature_weight: float = 1.0
    adversarial_weight: float = 0.1
    matching_weight: float = 1.0  # of the discriminator's feature maps
    adversary_rate: float = 1.5  # the discriminator's learning rate over the model's
    adversary_warmup_steps: int = 300  # until the discriminator's two terms have their whole weight

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.adversarial_weight and self.matching_weight:
            raise InputError(
                f"matching_weight is {self.matching_weight:g} and adversarial_weight 0; expected 0 for both: without a "
                "discriminator there are no maps of it to match"
            )


@dataclass(frozen=True)
class StyleRecipe(Recipe):
    """After stage 2: a style encoder that hears the instrument, however it is recorded."""

    stage: ClassVar[str] = "timbrel.training.style:StyleStage"

    tuning_semitones: float = 3.0
    gain_db: float = 2.0
    recording: Recording = field(default_factory=Recording)


@dataclass(frozen=True)
class ReportAutoencoderRecipe(Recipe):
    """Stage 1 of report 001's system: equation 10."""

    stage: ClassVar[str] = "timbrel.training.report:ReportAutoencoderStage"

    feature_network: str | None = None  # a folder of `timbrel train features`, or weights of VGGish or LPIPS
    perceptual_weight: float = 0.1
    kl_weight: float = 0.01
    downsamplings: int = 3  # latents [32, 16, 16]; with 4 [32, 8, 8]
    log_variance: bool = False  # draw the latents, as a VAE does; the 1,056 parameters for it are not kept


@dataclass(frozen=True)
class ReportTransferRecipe(Recipe):
    """Stage 2 of report 001's system: equation 9, with equation 10 for its reconstruction."""

    stage: ClassVar[str] = "timbrel.training.report:ReportTransferStage"

    feature_network: str | None = None  # a folder of `timbrel train features`, or weights of VGGish or LPIPS
    reconstruction_weight: float = 1.0
    perceptual_weight: float = 0.1  # within the reconstruction
    style_weight: float = 0.1
    style_loss: Literal["gram", "maps"] = "gram"  # what it compares; equation 12 has the feature maps themselves
    label_weight: float = 0.0  # of telling by a style clip's embedding which instrument plays, as CLIP does
    diffusion_weight: float = 1.0
    noise_levels: int = 1  # timesteps drawn for one pair of clips
    num_train_timesteps: int = 200
    schedule: Literal["linear", "cosine"] = "linear"
    prediction_type: Literal["v", "epsilon"] = "v"  # "epsilon" is the report's; its last timestep is not noise
    time_embedding: Literal["sinusoidal", "learned", "fourier"] = "sinusoidal"
    num_filters: int = 64  # of style encoder and denoiser
    null_style_share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise_levels < 1:
            raise InputError(f"noise_levels is {self.noise_levels}; expected 1 or more timesteps for a pair of clips")


@dataclass(frozen=True)
class SingleRecipe(Recipe):
    """One instrument's model (report 003, section 4.2), on 5 s of music at a time.

    `prediction_type` is what the absolute error is taken of. The report's is "epsilon", the noise; but the schedule
    ends in pure noise, where `duet` starts, and there the noise says nothing about the music: "v" does everywhere.
    With "epsilon" the schedule stops just short of that.

    `architecture` "report" is the report's U-Net over the bands and frames of the mel itself, without a codec. Its
    sizes are `report_widths` alone; the default architecture's are the others.
    """

    stage: ClassVar[str] = "timbrel.training.single:SingleStage"

    architecture: Literal["default", "report"] = "default"
    report_widths: tuple[int, ...] = (32, 64, 96, 128)  # of the report's architecture, at each level
    widths: tuple[int, ...] = (320, 224, 224)
    picture_width: int = 48
    picture_dilations: tuple[int, ...] = (1, 2, 4, 1)
    prediction_type: Literal["v", "epsilon"] = "v"
    schedule: Literal["cosine", "linear"] = "cosine"
    num_train_timesteps: int = 500
    augment: bool = True
    tuning_semitones: float = 0.5  # of augmentation: recordings are not all tuned to 440 Hz, and voices to nothing
    gain_db: float = 3.0  # of augmentation


def _check_shares(recipe: Recipe, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(recipe, name) <= 1:
            raise InputError(f"{name} is {getattr(recipe, name)}; expected a share from 0 to 1")


@dataclass(frozen=True)
class SoundsRecipe(Recipe):
    """Sound from a text (report 002): windows of labelled sounds, with captions."""

    null_text_share: float = 0.1  # of samples of which nothing is known, those trained without their caption: guidance
    overlap_share: float = 0.15  # of samples that are two sounds of one parent at once
    gain_db: float = 3.0  # of augmentation
    tuning_semitones: float = 1.0  # of augmentation
    timestep_shift: float = 1.0  # towards noise, of the timesteps that are drawn (`diffusion.schedules.shifted`)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_shares(self, "null_text_share", "overlap_share")
        if not 0.01 <= self.timestep_shift <= 100:
            raise InputError(f"timestep_shift is {self.timestep_shift}; expected 0.01 to 100: 1 is none")


@dataclass(frozen=True)
class ReportGenerateRecipe(SoundsRecipe):
    """Stable Diffusion 1.x, of --init-from, learns pictures of sounds (report 002, sections 3.1 and 3.3)."""

    stage: ClassVar[str] = "timbrel.training.generate:StableDiffusionStage"


@dataclass(frozen=True)
class HolesRecipe(SoundsRecipe):
    """What is expected in a hole, for --init-from, a model that learnt from masks; all else of it stays."""

    stage: ClassVar[str] = "timbrel.training.generate:HolesStage"

    null_text_share: float = 0.5
    timestep_shift: float = 4.0


@dataclass(frozen=True)
class GenerateRecipe(SoundsRecipe):
    """Sound from a text (report 002), by a network of our own.

    On a CPU without instructions for bf16, `precision` fp32 is several times faster.
    """

    stage: ClassVar[str] = "timbrel.training.generate:GenerateStage"

    timestep_shift: float = 4.0  # noise hides the level last: it varies 5 to 30 times as much as the rest
    widths: tuple[int, ...] = (384, 320, 320)  # a model to go on from has these, or fewer, and grows
    picture_width: int = 32
    picture_dilations: tuple[int, ...] = (1, 2)  # none: along time alone
    band_attention: bool = True  # each moment looks along its band; a model to go on from that has none gets it
    token_width: int = 128
    text_layers: int = 1
    clip: str | None = None  # a folder or OWNER/REPO of CLIP's text model, in place of words; its width is token_width
    schedule: Literal["cosine", "linear"] = "cosine"
    num_train_timesteps: int = 1000
    prediction_type: Literal["v", "epsilon"] = "v"
    word_noise: float = 0.3  # standard deviation over the length of a word's vector: near wordings are to sound alike
    unnamed_share: float = 0.2  # of samples whose caption is read without the classes' own vectors: words alone count
    mask_share: float = 0.5  # of samples of which parts are known: to paint into recordings, and to go on from them
    null_masked_share: float = 0.4  # of the latter, those that are trained without their caption: the parts say enough

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_shares(self, "unnamed_share", "mask_share", "null_masked_share")
        if self.mask_share == 1:
            raise InputError("mask_share is 1; expected less: a sound from a text alone is learnt without masks")
        if self.clip is not None and Path(self.clip).is_dir():  # a model folder keeps it, for any working directory
            object.__setattr__(self, "clip", str(Path(self.clip).resolve()))


@dataclass(frozen=True)
class PictureCodecRecipe(Recipe):
    """Pictures through latents and back (report 004)."""

    stage: ClassVar[str] = "timbrel.training.picture:PictureCodecStage"

    latent_channels: int = 8
    encoder_widths: tuple[int, ...] = (64, 48, 32)
    decoder_widths: tuple[int, ...] = (96, 80, 56)
    last_width: int = 32
    difference_weight: float = 0.5
    kl_weight: float = 1e-4
    adversarial_weight: float = 0.03
    matching_weight: float = 0.3  # of the discriminator's feature maps
    adversary_rate: float = 1.0  # the discriminator's learning rate over the codec's
    adversary_warmup_steps: int = 300  # until the discriminator's two terms have their whole weight


@dataclass(frozen=True)
class PictureRecipe(Recipe):
    """Pictures from music and a prompt (report 004), over a codec: the report's loss (section 4.1.2)."""

    stage: ClassVar[str] = "timbrel.training.picture:PictureStage"

    width: int = 88
    inner_width: int = 144
    token_width: int = 128
    schedule: Literal["cosine", "linear"] = "cosine"
    num_train_timesteps: int = 1000
    prediction_type: Literal["v", "epsilon"] = "v"
    null_share: float = 0.1  # of samples that are trained without any condition, for guidance
    prompt_share: float = 0.15  # of samples that have a prompt and no music
    moment_share: float = 0.6  # of the moments of a clip that are heard, on average
    feature_noise: float = 0.2  # standard deviation over that of the features
    l1_weight: float = 0.01  # of the music's token
    l2_weight: float = 0.0  # likewise
    label_weight: float = 0.1  # of its distance from the label's words
    trained: Literal["all", "embedder"] = "all"
    epochs: int | None = None  # in place of steps: how often each training clip is heard; each is validated
    new_embedder: bool = False  # of a model that training goes on from, all but the embedder is kept

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_shares(self, "null_share", "prompt_share", "moment_share")


@dataclass(frozen=True)
class FeaturesRecipe(Recipe):
    """The feature network: which instrument plays in 3 s of music."""

    stage: ClassVar[str] = "timbrel.training.features:FeaturesStage"

    width: int = 16
    embedding: int = 128


@dataclass(frozen=True)
class ListenerRecipe(Recipe):
    """A listener: which class of a set is heard in 6 s of sound."""

    stage: ClassVar[str] = "timbrel.training.listener:ListenerStage"

    widths: tuple[int, ...] = (48, 64, 96, 128)  # multiples of eight
    hidden: int = 256
    noise_db: float = 1.5  # of augmentation: made sounds are no true ones
    gain_db: float = 3.0  # of augmentation
    tuning_semitones: float = 1.0  # of augmentation
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing is {self.label_smoothing}; expected a share from 0 to below 1")
        if self.noise_db < 0:
            raise InputError(f"noise_db is {self.noise_db}; expected 0 or more")


_TINY: dict[str, Any] = {
    "steps": 20,
    "batch_size": 4,
    "frames": 32,
    "warmup_steps": 2,
    "validate_every": 10,
    "log_every": 5,
}
_REPORT: dict[str, Any] = {
    "frames": 128,
    "learning_rate": 0.5e-4,
    "min_learning_rate_ratio": 1.0,
    "plateau_patience": 10,
    "validate_every": 750,
    "warmup_steps": 0,
    "ema_decay": 0.0,
    "precision": "fp32",
}
"""Report 001, section 4: AdamW at 0.5e-4 without warm-up, halved where ten epochs bring nothing better, 128 x 128
pictures, 100 and 200 epochs of 12,000 of them; a validation an epoch."""

AUTOENCODER_RECIPES: dict[str, Recipe] = {
    "default": AutoencoderRecipe(steps=4000, learning_rate=1e-3),
    "report": ReportAutoencoderRecipe(steps=75000, **_REPORT),
    "tiny": AutoencoderRecipe(width=8, num_blocks=1, **_TINY),
}
TRANSFER_RECIPES: dict[str, Recipe] = {
    "default": TransferRecipe(steps=20000, learning_rate=5e-4),
    "report": ReportTransferRecipe(steps=150000, **_REPORT),
    "tiny": TransferRecipe(
        style_frames=32,
        style_width=16,
        width=16,
        dilations=(1, 2),
        picture_width=4,
        picture_dilations=(1,),
        feature_weight=0.0,
        adversary_warmup_steps=2,
        **_TINY,
    ),
}
STYLE_RECIPES: dict[str, StyleRecipe] = {
    "default": StyleRecipe(
        steps=2000, batch_size=24, frames=320, learning_rate=3e-4, warmup_steps=100, precision="fp32", ema_decay=0.99
    ),
    "tiny": StyleRecipe(**_TINY),
}
SINGLE_RECIPES: dict[str, SingleRecipe] = {
    "default": SingleRecipe(steps=10000, frames=216, learning_rate=6e-4, warmup_steps=500),
    "tiny": SingleRecipe(report_widths=(8, 16), widths=(16, 24), picture_width=4, picture_dilations=(1,), **_TINY),
}
GENERATE_RECIPES: dict[str, SoundsRecipe] = {
    "default": GenerateRecipe(steps=20000, frames=256, learning_rate=8e-4, warmup_steps=500, precision="fp32"),
    "report": ReportGenerateRecipe(
        steps=25000,
        batch_size=4,
        frames=128,
        learning_rate=1e-5,
        min_learning_rate_ratio=1.0,
        warmup_steps=500,
        overlap_share=0.19,
        gain_db=0.0,
        tuning_semitones=0.0,
        checkpoint_every_s=1800.0,
    ),
    "holes": HolesRecipe(
        steps=1000, batch_size=32, frames=256, learning_rate=3e-3, warmup_steps=50, ema_decay=0.995, precision="fp32"
    ),
    "tiny": GenerateRecipe(widths=(16, 24), picture_width=4, picture_dilations=(1,), token_width=16, **_TINY),
}
PICTURE_CODEC_RECIPES: dict[str, PictureCodecRecipe] = {
    "default": PictureCodecRecipe(steps=20000, batch_size=64, learning_rate=1e-3),
    "tiny": PictureCodecRecipe(
        encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8), last_width=4, adversary_warmup_steps=2, **_TINY
    ),
}
_EXPERIMENT: dict[str, Any] = {  # of report 004, sections 5.1.1 and 5.1.2
    "batch_size": 8,
    "min_learning_rate_ratio": 0.0,
    "warmup_steps": 0,
    "keep_best": True,
    "new_embedder": True,
    "null_share": 0.0,
    "prompt_share": 0.0,
    "moment_share": 1.0,
    "feature_noise": 0.0,
}
PICTURE_RECIPES: dict[str, PictureRecipe] = {
    "default": PictureRecipe(steps=40000, batch_size=256, learning_rate=1e-3, warmup_steps=500),
    "experiment-1": PictureRecipe(learning_rate=8e-5, epochs=25, trained="embedder", **_EXPERIMENT),
    "experiment-2": PictureRecipe(learning_rate=1e-5, epochs=50, **_EXPERIMENT),
    "tiny": PictureRecipe(width=8, inner_width=16, token_width=16, **_TINY),
}
FEATURES_RECIPES: dict[str, FeaturesRecipe] = {
    "default": FeaturesRecipe(steps=4000, batch_size=32, frames=128, learning_rate=1e-3),
    "tiny": FeaturesRecipe(width=4, embedding=8, **_TINY | {"batch_size": 8}),
}
LISTENER_RECIPES: dict[str, ListenerRecipe] = {
    "default": ListenerRecipe(
        steps=1300, batch_size=64, learning_rate=2e-3, weight_decay=0.05, precision="fp32", ema_decay=0.99
    ),
    "tiny": ListenerRecipe(widths=(8, 16), hidden=8, **_TINY | {"precision": "fp32"}),
}


def find_recipe(recipes: Mapping[str, RecipeT], name: str, **changes: object) -> RecipeT:
    """The recipe of that name, with fields changed.

    Raises:
        InputError: for an unknown name or field.
    """
    if name not in recipes:
        raise InputError(f"recipe {name!r} is unknown; expected one of {', '.join(recipes)}")
    fields = {f.name for f in dataclasses.fields(recipes[name])}
    if unknown := set(changes) - fields:
        raise InputError(f"recipe {name!r} has no {', '.join(sorted(unknown))}; fields: {', '.join(sorted(fields))}")
    return dataclasses.replace(recipes[name], **changes)  # type: ignore[arg-type]
