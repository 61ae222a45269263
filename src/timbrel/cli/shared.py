"""What several verbs share: the flags of settings, and a bar that shows how far the work is."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from timbrel.pipelines.settings import (
    AccompanySettings,
    GenerateSettings,
    Method,
    PaintSettings,
    Progress,
    TransferSettings,
)

MODEL_S = "(default: the model's)"
SEMITONES = arg(metavar="auto|N")
FLAGS = arg(name="")  # a dataclass's fields are flags of their own names


@dataclass(frozen=True)
class TransferFlags(TransferSettings):
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint=MODEL_S)] = TransferSettings.steps
    guidance: Annotated[float | None, arg(metavar="X", help_behavior_hint=MODEL_S)] = TransferSettings.guidance
    transpose: Annotated[float | Literal["auto"], SEMITONES] = TransferSettings.transpose


@dataclass(frozen=True)
class GenerateFlags(GenerateSettings):
    negative_prompt: Annotated[str, arg(name="negative", metavar="TEXT", help_behavior_hint="")] = ""
    num_inference_steps: Annotated[int | None, arg(name="steps", metavar="N", help_behavior_hint=MODEL_S)] = None
    guidance_scale: Annotated[float | None, arg(name="guidance", metavar="X", help_behavior_hint=MODEL_S)] = None


@dataclass(frozen=True)
class PaintFlags(PaintSettings):
    prompt: Annotated[str, arg(metavar="TEXT")] = PaintSettings.prompt
    style_of: Annotated[str | None, arg(metavar="PICTURE", help_behavior_hint="")] = None
    num_inference_steps: Annotated[int | None, arg(name="steps", metavar="N", help_behavior_hint=MODEL_S)] = None
    guidance_scale: Annotated[float | None, arg(name="guidance", metavar="X", help_behavior_hint=MODEL_S)] = None


@dataclass(frozen=True)
class AccompanyFlags(AccompanySettings):
    transpose: Annotated[float | Literal["auto"], SEMITONES] = AccompanySettings.transpose
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the method's)")] = None


@dataclass(frozen=True)
class MethodFlags(Method):
    model: Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="(default: default)")] = None
    start: Annotated[int | None, arg(metavar="K", help_behavior_hint="(cross; default: 15)")] = None
    forward_steps: Annotated[int | None, arg(metavar="F", help_behavior_hint="(cross; default: matched)")] = None
    equalise: Annotated[bool, arg(help_behavior_hint="(cross)")] = Method.equalise
    models: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(cross)")] = None


@contextmanager
def progress_bar(name: str) -> Iterator[Progress]:
    """Yields a function of the seconds of sound done and in all: a bar with the time left, if stderr is a terminal."""
    from tqdm import tqdm

    layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} s, {remaining} left"
    with tqdm(desc=name, disable=None, leave=False, bar_format=layout) as bar:

        def update(done_s: float, total_s: float | None) -> None:
            bar.total = total_s and round(total_s)
            bar.update(round(done_s) - bar.n)

        yield update


@contextmanager
def plain_warnings(say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Warnings of the package are lines of the command's own, each once, without the place in the code."""
    said = set()

    def show(message: Warning | str, *_: object) -> None:
        if str(message) not in said:
            said.add(str(message))
            (say or partial(print, file=sys.stderr))(f"timbrel: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield
