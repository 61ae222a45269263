"""`timbrel train autoencoder|transfer RECIPE`: each recipe is a verb, each of its fields a flag."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from timbrel.training.recipes import AUTOENCODER_RECIPES, TRANSFER_RECIPES, AutoencoderRecipe, TransferRecipe

Folder = Annotated[Path, arg(metavar="FOLDER")]
Model = Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="")]

ARGS = """
    It shows its progress, and logs to FOLDER/metrics.jsonl and FOLDER/tensorboard. Killed at any moment, the
    same command goes on where it was; Ctrl-C finishes the step and keeps it. On several GPUs or processes:

        torchrun --nproc_per_node 2 -m timbrel train ...

    Args:
        recipe: The recipe's fields; they are written into the model.
        data: Training data, of `timbrel data synth` or `timbrel data prepare`.
        out: The run's folder; the model is in FOLDER/model.
        init_from: Start from this model's weights: a folder, or the name of a shipped model.
        restart: Start over, whatever FOLDER holds.
"""


def _autoencoder(name: str, default: AutoencoderRecipe) -> Callable[..., int]:
    def train(
        *,
        data: Folder,
        out: Folder,
        init_from: Model = None,
        restart: bool = False,
        recipe: Annotated[AutoencoderRecipe, arg(name="")] = default,
    ) -> int:
        from timbrel.training.autoencoder import AutoencoderStage

        return _fit(AutoencoderStage(recipe, data, init_from=init_from), recipe, out, restart)

    train.__doc__ = f"""Train a mel autoencoder by the recipe {name!r}.

    For example:

        timbrel train autoencoder {name} --data data/synth --out runs/autoencoder
    {ARGS}"""
    return train


def _transfer(name: str, default: TransferRecipe) -> Callable[..., int]:
    def train(
        *,
        data: Folder,
        out: Folder,
        codec: Model = None,
        init_from: Model = None,
        restart: bool = False,
        recipe: Annotated[TransferRecipe, arg(name="")] = default,
    ) -> int:
        from timbrel.training.transfer import TransferStage

        stage = TransferStage(recipe, data, codec=codec, init_from=init_from)
        return _fit(stage, recipe, out, restart)

    train.__doc__ = f"""Train a transfer model by the recipe {name!r}, over a codec or on from another model.

    For example:

        timbrel train transfer {name} --data data/synth --codec runs/autoencoder/model --out runs/transfer
        timbrel train transfer {name} --data data/mine --init-from default --out runs/mine
    {ARGS}        codec: The mel autoencoder to work over: a folder, or the name of a shipped model.
    """
    return train


def _fit(stage: Any, recipe: Any, out: Path, restart: bool) -> int:
    from timbrel.training.loop import fit

    if not fit(stage, recipe, out, resume=not restart):
        return 130
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes one speaks
        print(f"the model is in {out / 'model'}")
    return 0


VERBS = {f"train autoencoder {name}": _autoencoder(name, recipe) for name, recipe in AUTOENCODER_RECIPES.items()}
VERBS |= {f"train transfer {name}": _transfer(name, recipe) for name, recipe in TRANSFER_RECIPES.items()}
