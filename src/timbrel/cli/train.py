"""`timbrel train autoencoder|transfer|features RECIPE`, `timbrel train single`: each field of a recipe is a flag."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from timbrel.training import recipes

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


def _autoencoder(name: str, default: recipes.Recipe) -> Callable[..., int]:
    def train(
        *,
        data: Folder,
        out: Folder,
        init_from: Model = None,
        restart: bool = False,
        recipe: recipes.Recipe = default,
    ) -> int:
        return _fit(recipe, out, restart, data, init_from=init_from)

    train.__annotations__["recipe"] = Annotated[type(default), arg(name="")]  # its own fields are the flags
    train.__doc__ = f"""Train a mel autoencoder by the recipe {name!r}.

    For example:

        timbrel train autoencoder {name} --data data/synth --out runs/autoencoder
    {ARGS}"""
    return train


def _transfer(name: str, default: recipes.Recipe) -> Callable[..., int]:
    def train(
        *,
        data: Folder,
        out: Folder,
        codec: Model = None,
        init_from: Model = None,
        restart: bool = False,
        recipe: recipes.Recipe = default,
    ) -> int:
        return _fit(recipe, out, restart, data, codec=codec, init_from=init_from)

    train.__annotations__["recipe"] = Annotated[type(default), arg(name="")]
    train.__doc__ = f"""Train a transfer model by the recipe {name!r}, over a codec or on from another model.

    For example:

        timbrel train transfer {name} --data data/synth --codec runs/autoencoder/model --out runs/transfer
        timbrel train transfer {name} --data data/mine --init-from runs/transfer/model --out runs/mine
    {ARGS}        codec: The mel autoencoder to work over: a folder, or the name of a shipped model.
    """
    return train


def single(
    data: Annotated[Path, Positional, arg(metavar="DATA")],
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    *,
    instrument: Annotated[str, arg(metavar="LABEL")],
    codec: Annotated[str, arg(metavar="NAME|FOLDER")] = "default",
    init_from: Model = None,
    restart: bool = False,
    recipe: Annotated[recipes.SingleRecipe, arg(name="")] = recipes.SINGLE_RECIPES["default"],  # type: ignore[assignment]
) -> int:
    return _fit(recipe, out, restart, data, instrument=instrument, codec=codec, init_from=init_from)


single.__doc__ = f"""Train a model of one instrument, for cross-diffusion, duets and accompaniments.

    For example:

        timbrel train single data/mine runs/violin --instrument violin
        timbrel transfer song.mp3 --to violin --method cross --models runs
    {ARGS.replace("FOLDER", "OUT")}        instrument: The label in the data to learn; no other is heard.
        codec: The mel autoencoder to work over. Models that play duets share one.
    """


def _features(name: str, default: recipes.Recipe) -> Callable[..., int]:
    def train(*, data: Folder, out: Folder, restart: bool = False, recipe: recipes.Recipe = default) -> int:
        return _fit(recipe, out, restart, data)

    train.__annotations__["recipe"] = Annotated[type(default), arg(name="")]
    train.__doc__ = f"""Train a feature network by the recipe {name!r}: it tells a store's instruments apart.

    For example:

        timbrel train features {name} --data data/synth --out runs/features
        timbrel evaluate distance recordings/violin results --weights runs/features/model
    {ARGS}"""
    return train


def _fit(recipe: recipes.Recipe, out: Path, restart: bool, data: Path, **models: str | None) -> int:
    from timbrel.training import autoencoder, features, report, transfer
    from timbrel.training.loop import fit
    from timbrel.training.single import SingleStage

    stages: dict[type, Any] = {
        recipes.AutoencoderRecipe: autoencoder.AutoencoderStage,
        recipes.TransferRecipe: transfer.TransferStage,
        recipes.ReportAutoencoderRecipe: report.ReportAutoencoderStage,
        recipes.ReportTransferRecipe: report.ReportTransferStage,
        recipes.FeaturesRecipe: features.FeaturesStage,
        recipes.SingleRecipe: SingleStage,
    }
    if not fit(stages[type(recipe)].prepare(recipe, data, **models), out, resume=not restart):
        return 130
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes one speaks
        print(f"the model is in {out / 'model'}")
    return 0


VERBS = {
    f"train autoencoder {name}": _autoencoder(name, recipe) for name, recipe in recipes.AUTOENCODER_RECIPES.items()
}
VERBS |= {f"train transfer {name}": _transfer(name, recipe) for name, recipe in recipes.TRANSFER_RECIPES.items()}
VERBS["train single"] = single
VERBS |= {f"train features {name}": _features(name, recipe) for name, recipe in recipes.FEATURES_RECIPES.items()}
