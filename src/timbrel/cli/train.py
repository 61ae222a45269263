"""`timbrel train autoencoder|transfer|style|generate|... RECIPE`, `train single`: a recipe's fields are flags."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg
from tyro.extras import subcommand_type_from_defaults

from timbrel.training import recipes

Folder = Annotated[Path, arg(metavar="FOLDER")]
Ontology = Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="(default: the shipped one)")]
Model = Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="")]


@dataclass(frozen=True)
class Run:
    """What every verb takes beside its recipe."""

    data: Folder
    """Training data, of `timbrel data synth` or `timbrel data prepare`."""
    out: Folder
    """The run's folder; the model is in FOLDER/model."""
    restart: bool = False
    """Start over, whatever FOLDER holds."""


def choice(named: Mapping[str, recipes.Recipe]) -> Any:
    """The recipes as words of the command line, whose fields are flags."""
    about = {name: str(type(recipe).__doc__).partition("\n")[0] for name, recipe in named.items()}
    return arg(name="", constructor=subcommand_type_from_defaults(named, descriptions=about, prefix_names=False))


Flags = Annotated[Run, arg(name="")]


def autoencoder(
    recipe: Annotated[recipes.Recipe, choice(recipes.AUTOENCODER_RECIPES)], run: Flags, *, init_from: Model = None
) -> int:
    """Train a mel autoencoder by a recipe.

    For example:

        timbrel train autoencoder default --data data/synth --out runs/autoencoder

    It shows its progress, and logs to FOLDER/metrics.jsonl and FOLDER/tensorboard. Killed at any moment, the
    same command goes on where it was; Ctrl-C finishes the step and keeps it. On several GPUs or processes:

        torchrun --nproc_per_node 2 -m timbrel train autoencoder ...

    Args:
        recipe: The recipe's fields; they are written into the model.
        run: The run.
        init_from: Start from this model's weights: a folder, or the name of a shipped model.
    """
    return train(recipe, run, init_from=init_from)


def transfer(
    recipe: Annotated[recipes.Recipe, choice(recipes.TRANSFER_RECIPES)],
    run: Flags,
    *,
    codec: Model = None,
    init_from: Model = None,
) -> int:
    """Train a transfer model by a recipe, over a codec or on from another model.

    For example:

        timbrel train transfer default --data data/synth --codec runs/autoencoder/model --out runs/transfer
        timbrel train transfer default --data data/mine --init-from runs/transfer/model --out runs/mine

    It logs and goes on as `timbrel train autoencoder` does.

    Args:
        recipe: The recipe's fields; they are written into the model.
        run: The run.
        codec: The mel autoencoder to work over: a folder, or the name of a shipped model.
        init_from: Start from this model's weights: a folder, or the name of a shipped model.
    """
    return train(recipe, run, codec=codec, init_from=init_from)


def style(
    recipe: Annotated[recipes.StyleRecipe, choice(recipes.STYLE_RECIPES)],
    run: Flags,
    *,
    init_from: Annotated[str, arg(metavar="NAME|FOLDER")] = "default",
) -> int:
    """Train a transfer model's style encoder to hear the instrument through noise, room and microphone.

    For example:

        timbrel train style default --data data/synth --out runs/style

    A clip, recorded in whatever way, gives the tokens that the model, as it was, has of the clip itself. The denoiser
    stays as it is. It logs and goes on as `timbrel train autoencoder` does.

    Args:
        recipe: The recipe's fields; they are written into the model.
        run: The run.
        init_from: The transfer model: a folder, or the name of a shipped model.
    """
    return train(recipe, run, init_from=init_from)


def generate(
    recipe: Annotated[recipes.Recipe, choice(recipes.GENERATE_RECIPES)],
    run: Flags,
    *,
    codec: Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="(default: default)")] = None,
    init_from: Annotated[str | None, arg(metavar="NAME|FOLDER|OWNER/REPO", help_behavior_hint="")] = None,
    ontology: Ontology = None,
) -> int:
    """Train a model that makes sound from a text by a recipe, over a codec or on from another model.

    For example:

        timbrel train generate default --data data/sounds --out runs/generate
        timbrel generate "a harp melody" --model runs/generate/model
        timbrel train generate report --init-from stable-diffusion-v1-5 --data data/sounds128 --out runs/report

    The last goes on from Stable Diffusion 1.x. It logs and goes on as `timbrel train autoencoder` does.

    Args:
        recipe: The recipe's fields; they are written into the model.
        run: The run.
        codec: The mel autoencoder to work over: a folder, or the name of a shipped model.
        init_from: Start from this model's weights: a folder, or the name of a shipped model. For the recipe `report`
            Stable Diffusion 1.x: a folder in diffusers' layout, or OWNER/REPO on the Hugging Face hub. With more
            --widths than the model has, it grows.
        ontology: The classes of the data's labels, in the format of AudioSet's ontology.
    """
    return train(recipe, run, codec=codec, init_from=init_from, ontology=ontology)


def features(recipe: Annotated[recipes.Recipe, choice(recipes.FEATURES_RECIPES)], run: Flags) -> int:
    """Train a feature network by a recipe: it tells a store's instruments apart.

    For example:

        timbrel train features default --data data/synth --out runs/features
        timbrel evaluate distance recordings/violin results --weights runs/features/model

    It logs and goes on as `timbrel train autoencoder` does.

    Args:
        recipe: The recipe's fields; they are written into the model.
        run: The run.
    """
    return train(recipe, run)


def listener(
    recipe: Annotated[recipes.ListenerRecipe, choice(recipes.LISTENER_RECIPES)],
    run: Flags,
    *,
    ontology: Ontology = None,
) -> int:
    """Train a listener by a recipe: it tells how well a sound fits a text, and chooses among candidates.

    For example:

        timbrel train listener default --data data/sounds --out runs/listener
        timbrel generate "a harp melody" --listener runs/listener/model --candidates 8

    It logs and goes on as `timbrel train autoencoder` does.

    Args:
        recipe: The recipe's fields; they are written into the model.
        run: The run.
        ontology: The classes of the data's labels, in the format of AudioSet's ontology.
    """
    return train(recipe, run, ontology=ontology)


def picture_codec(
    recipe: Annotated[recipes.PictureCodecRecipe, choice(recipes.PICTURE_CODEC_RECIPES)], run: Flags
) -> int:
    """Train a codec of pictures by a recipe, on the set of `timbrel data paint`.

    For example:

        timbrel train picture-codec default --data data/paint --out runs/picture-codec

    It logs and goes on as `timbrel train autoencoder` does.

    Args:
        recipe: The recipe's fields; they are written into the model.
        run: The run.
    """
    return train(recipe, run)


def picture(
    recipe: Annotated[recipes.PictureRecipe, choice(recipes.PICTURE_RECIPES)],
    run: Flags,
    *,
    codec: Annotated[str | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
    init_from: Annotated[str | None, arg(metavar="NAME|FOLDER|OWNER/REPO", help_behavior_hint="")] = None,
) -> int:
    """Train a model that paints pictures from music by a recipe, over a codec or on from another model.

    For example:

        timbrel train picture default --data data/paint --codec runs/picture-codec/model --out runs/picture
        timbrel paint song.mp3 --model runs/picture/model
        timbrel train picture experiment-1 --data data/mine --init-from stable-diffusion-v1-4 --out runs/report

    Experiment 1 of the report trains the embedder alone, experiment 2 everything. It logs and goes on as `timbrel train
    autoencoder` does.

    Args:
        recipe: The recipe's fields; they are written into the model.
        run: The run.
        codec: The picture codec to work over.
        init_from: Start from this model: a folder, the name of a shipped model, or Stable Diffusion 1.x: a folder in
            diffusers' layout, or OWNER/REPO on the Hugging Face hub.
    """
    return train(recipe, run, codec=codec, init_from=init_from)


def single(
    run: Flags,
    *,
    instrument: Annotated[str, arg(metavar="LABEL")],
    codec: Annotated[str, arg(metavar="NAME|FOLDER")] = "default",
    init_from: Model = None,
    recipe: Annotated[recipes.SingleRecipe, arg(name="")] = recipes.SINGLE_RECIPES["default"],
) -> int:
    """Train a model of one instrument, for cross-diffusion, duets and accompaniments.

    For example:

        timbrel train single --data data/mine --out runs/violin --instrument violin
        timbrel transfer song.mp3 --to violin --method cross --models runs

    It logs and goes on as `timbrel train autoencoder` does.

    Args:
        run: The run.
        instrument: The label in the data to learn; no other is heard.
        codec: The mel autoencoder to work over. Models that play duets share one.
        init_from: Start from this model's weights: a folder, or the name of a shipped model.
        recipe: The recipe's fields; they are written into the model.
    """
    return train(recipe, run, instrument=instrument, codec=codec, init_from=init_from)


def train(recipe: recipes.Recipe, run: Run, **models: str | Path | None) -> int:
    """Trains by a recipe in the stage that it names, which takes `models`; returns the exit code."""
    from timbrel.training.loop import fit

    stage = pkgutil.resolve_name(recipe.stage).prepare(recipe, run.data, **models)
    if not fit(stage, run.out, resume=not run.restart):
        return 130
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes one speaks
        print(f"the model is in {run.out / 'model'}")
    return 0
