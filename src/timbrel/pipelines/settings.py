"""Settings of the tasks, checked once. The command line takes its flags from here, so that torch is not imported."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from operator import index
from typing import Any, Literal

from timbrel.errors import InputError
from timbrel.instruments import LONGEST_NAME, names_a_file

Progress = Callable[[float, float | None], None]
"""A function that gets the seconds done and the seconds in all (None if unknown)."""

MOST_SEMITONES = 36
MOST_GUIDANCE = 20.0
MOST_SEED = 2**63 - 1
MOST_SECONDS = 600.0
MOST_TAKES = 100
MOST_PIXELS = 4096


@dataclass(frozen=True)
class TransferSettings:
    """How a recording is put on another instrument.

    Attributes:
        strength: From 0 (the source as it is) to 1 (all of the new sound): a line between their mels.
        steps: Sampler steps. The shipped model is best with 1. With 2, each seed gives another take, and some notes are
            lost.
        guidance: How strongly the style counts: 1 as learned, more exaggerates it. Other values than 1 double the time.
        transpose: Semitones to move the music by, at the same speed, or "auto": the octaves that bring it into the
            instrument's range. Fractions move the tuning.
        seed: The same seed gives the same result; another seed gives another take, if a similar one.
        mix: How much of the new sound there is beside the source, which is in time with it: 0 is the source alone.
        intonation: Keep the source's tuning, and the vibrato of a single voice. Without, most notes come out steady.
        loop: The source is a loop: so is the result. It is in memory as a whole.
        limiter: Let a limiter hold back peaks that would clip, instead of a softer result.

    Raises:
        InputError: a value is out of range, or no whole number where one is expected.
    """

    strength: float = 1.0
    steps: int | None = None
    guidance: float | None = None
    transpose: float | Literal["auto"] = 0
    seed: int = 0
    mix: float = 1.0
    intonation: bool = True
    loop: bool = False
    limiter: bool = False

    def __post_init__(self) -> None:
        check_range("strength", self.strength, 0, 1)
        check_range("mix", self.mix, 0, 1)
        check_range("guidance", 1 if self.guidance is None else self.guidance, 0, MOST_GUIDANCE)
        _set(self, seed=check_whole("seed", self.seed, 0, MOST_SEED))
        if self.steps is not None:
            _set(self, steps=check_whole("steps", self.steps, 1))
        if not (isinstance(self.transpose, str) and self.transpose == "auto"):
            check_range("transpose", self.transpose, -MOST_SEMITONES, MOST_SEMITONES, why="or 'auto'")
            whole = int(self.transpose)
            _set(self, transpose=whole if whole == self.transpose else float(self.transpose))


@dataclass(frozen=True)
class DuetSettings:
    """How several instruments make up music together.

    Attributes:
        seconds: How much music, up to 600.
        split: How many denoising steps the instruments share. With more they play more alike; with 0 they share the
            noise alone.
        steps: Denoising steps in all.
        seed: The same seed gives the same music; another seed gives another idea.
        equalise: Leave the first instrument's average spectrum in what the others go on from, and more of its sound,
            instead of giving it theirs.

    Raises:
        InputError: a value is out of range, or no whole number where one is expected.
    """

    seconds: float = 10.0
    split: int = 5
    steps: int = 50
    seed: int = 0
    equalise: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= MOST_SECONDS:
            raise InputError(f"seconds is {self.seconds}; expected more than 0, at most {MOST_SECONDS:g}")
        steps = check_whole("steps", self.steps, 1)
        _set(self, steps=steps, seed=check_whole("seed", self.seed, 0, MOST_SEED))
        _set(
            self,
            split=check_whole("split", self.split, 0, steps - 1, why=f"of {steps} steps each instrument needs one"),
        )


@dataclass(frozen=True)
class GenerateSettings:
    """How sound is made from a text. The names are those of diffusers' pipelines.

    Attributes:
        negative_prompt: What is not to be heard.
        num_inference_steps: Sampler steps; None is the model's own number.
        guidance_scale: How strongly the text counts, and what is around a part that is made anew: 1 as learned, more
            exaggerates them; None is the model's own value, and of a part that is made anew without a text 1.
        seed: The same seed gives the same sound. Of several takes each has the seed after that of the one before.

    Raises:
        InputError: a value is out of range, or no whole number where one is expected.
    """

    negative_prompt: str = ""
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("guidance_scale", 1 if self.guidance_scale is None else self.guidance_scale, 0, MOST_GUIDANCE)
        _set(self, seed=check_whole("seed", self.seed, 0, MOST_SEED))
        if self.num_inference_steps is not None:
            _set(self, num_inference_steps=check_whole("num_inference_steps", self.num_inference_steps, 1))


@dataclass(frozen=True)
class PaintSettings:
    """How a picture is painted from music.

    Attributes:
        prompt: What stands before the music's token; "" is nothing.
        size: Pixels of the picture's sides.
        num_inference_steps: Sampler steps; None is the model's own number.
        guidance_scale: How strongly music and prompt count: 1 as learned, more exaggerates them; None is the model's
            own value.
        seed: The same seed gives the same picture. Of several pictures each has the seed after that of the one before.
        style_of: A picture's file, whose colours the painted ones get: its mean and covariance of colours.

    Raises:
        InputError: a value is out of range, or no whole number where one is expected.
    """

    prompt: str = "An art image of"
    size: int = 512
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    style_of: str | None = None

    def __post_init__(self) -> None:
        check_range("guidance_scale", 1 if self.guidance_scale is None else self.guidance_scale, 0, MOST_GUIDANCE)
        _set(
            self,
            seed=check_whole("seed", self.seed, 0, MOST_SEED),
            size=check_whole("size", self.size, 16, MOST_PIXELS),
        )
        if self.num_inference_steps is not None:
            _set(self, num_inference_steps=check_whole("num_inference_steps", self.num_inference_steps, 1))


@dataclass(frozen=True)
class AccompanySettings:
    """How instruments accompany a voice.

    Attributes:
        level_db: The level of each instrument against the voice, in dB, rests apart: -6 is half as strong.
        transpose: Semitones to move the instruments by, or "auto": each by the octaves that bring it into its range.
        steps: Sampler steps; 50 in cross-diffusion.
        seed: The same seed gives the same result; another seed gives another take.

    Raises:
        InputError: a value is out of range, or no whole number where one is expected.
    """

    level_db: float = -6.0
    transpose: float | Literal["auto"] = 0
    steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not -60 <= self.level_db <= 20:
            raise InputError(f"level_db is {self.level_db}; expected -60 (hardly there) to 20 (ten times as strong)")
        _ = self.transfer

    @property
    def transfer(self) -> TransferSettings:
        """The settings of each instrument's transfer."""
        return TransferSettings(transpose=self.transpose, steps=self.steps, seed=self.seed)


@dataclass(frozen=True)
class Method:
    """Which model plays.

    Attributes:
        method: "default" is the main model. "cross" is cross-diffusion: noise the source, and let a model of the target
            instrument alone (of `timbrel train single`) take the noise away. Slower; see docs/cross-diffusion.md.
        model: A model that ships (see `timbrel models`) or a model folder.
        start: How many of the denoising steps (--steps, 50) are skipped. With fewer, less of the source is left.
        forward_steps: How far the source is noised, of the model's 500 steps; by default as --start expects.
        equalise: Leave the source's average spectrum, and more of its sound, instead of giving it the instrument's.
        models: A folder with models of instruments, beside those that ship.
        device: Where it computes.

    Raises:
        InputError: an option of the other method is given.
    """

    method: Literal["default", "cross"] = "default"
    model: str | os.PathLike[str] | None = None
    start: int | None = None
    forward_steps: int | None = None
    equalise: bool = True
    models: str | os.PathLike[str] | None = None
    device: Literal["cpu", "cuda", "mps"] = "cpu"

    def __post_init__(self) -> None:
        of_cross = {
            "start": self.start,
            "forward_steps": self.forward_steps,
            "equalise": None if self.equalise else False,
            "models": self.models,
        }
        others: dict[str, dict[str, Any]] = {"cross": {"model": self.model}, "default": of_cross}
        if self.method not in others:
            raise InputError(f"method is {self.method!r}; expected 'cross' or 'default'")
        if misplaced := [name for name, value in others[self.method].items() if value is not None]:
            raise InputError(
                f"{', '.join(misplaced)} is given, which the method {self.method!r} does not have: leave it out"
            )


def check_whole(name: str, value: int, low: int, high: int | None = None, *, why: str = "") -> int:
    """A whole number, numpy's too, as an int of Python's. Raises InputError for another, or one out of range."""
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        expected = f"a whole number of at least {low}" if high is None else f"a whole number, {low} to {high}"
        raise InputError(f"{name} is {value!r}; expected {expected}{why and f', {why}'}")
    return number


def check_range(name: str, value: float, low: float, high: float, *, why: str = "") -> None:
    """Raises InputError for what is no number from `low` to `high`, NaN among them."""
    if not isinstance(value, Real) or not low <= value <= high:
        shown = value if isinstance(value, Real) else repr(value)
        raise InputError(f"{name} is {shown}; expected {low:g} to {high:g}{why and f', {why}'}")


def check_instrument(name: str, clips: Sequence[str | os.PathLike[str]]) -> None:
    """Raises InputError for a name that a user's own instrument cannot have, or for no list of clips."""
    if not isinstance(name, str) or not names_a_file(name) or "." in name or name.startswith("-"):
        raise InputError(
            f"name is {name!r:.60}; expected a word without slash and dot, control characters, and a dash before it, "
            f"of at most {LONGEST_NAME} bytes, such as my-cello"
        )
    if isinstance(clips, str | os.PathLike) or not len(clips):
        raise InputError(f"clips is {clips!r:.60}; expected a list of recordings, with at least one of {name}")


def _set(settings: object, **values: float) -> None:
    """Sets checked values in a frozen dataclass that is being made."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)
