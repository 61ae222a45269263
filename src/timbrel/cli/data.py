"""`timbrel data`: training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg


def _synth_config() -> Any:
    from timbrel.data.synth import SynthConfig

    return SynthConfig


def _mel_config() -> Any:
    from timbrel.audio.mel import MelConfig

    return MelConfig


# Any: the classes' modules import torch, and only this verb's own help needs them.
Synth = Annotated[Any, arg(name="", constructor_factory=_synth_config)]
Mel = Annotated[Any, arg(name="mel", constructor_factory=_mel_config)]


def synth(
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    config: Synth,
    mel: Mel,
    *,
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a processor)")] = None,
) -> None:
    """Render scores on several instruments each, so that every excerpt has its true answer.

    For example:

        timbrel data synth data/synth --num-groups 2000
        timbrel data synth data/mine --scores my-midi-files --composed-share 0

    Needs the extra [data], TiMidity++ and soundfonts. The same seed makes the same data; a run that was
    stopped goes on where it was.

    Args:
        out: The folder for the mels and their manifest.
        config: What to make.
        mel: The mel spectrograms; a model works with those it was trained on.
        workers: Processes at work.
    """
    from timbrel.data.synth import synthesise

    print(f"{out}: {synthesise(config, out, mel=mel, workers=workers)} recordings")


def prepare(
    recordings: Annotated[Path, Positional, arg(metavar="RECORDINGS")],
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    mel: Mel,
    *,
    silence_db: float = -60.0,
    min_seconds: float = 3.0,
    validation_share: float = 0.1,
    seed: int = 0,
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a processor)")] = None,
) -> None:
    """Turn your own recordings, one folder an instrument, into training data.

    For example, with recordings/cello/*.mp3 and recordings/flute/*.wav:

        timbrel data prepare recordings data/mine
        timbrel train transfer default --data data/mine --out runs/mine --init-from default

    A file that cannot be read is reported and skipped. A run that was stopped goes on where it was.

    Args:
        recordings: The folder; each folder in it is named after an instrument and holds recordings of it.
        out: The folder for the mels and their manifest.
        mel: The mel spectrograms; a model works with those it was trained on.
        silence_db: What is silent, in dB of full scale once a recording is at -20 dB RMS.
        min_seconds: A recording with less sound is skipped.
        validation_share: The share of each instrument's recordings that training does not see.
        seed: Another seed chooses other recordings for validation.
        workers: Processes at work.
    """
    from timbrel.data import prepare as module

    print(
        module.prepare(
            recordings,
            out,
            config=mel,
            workers=workers,
            silence_db=silence_db,
            min_seconds=min_seconds,
            validation_share=validation_share,
            seed=seed,
        )
    )
