"""Cross-diffusion (report 003) through the transfer pipeline: the system is in `systems/cross.py`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from timbrel.errors import ModelError
from timbrel.pipelines.settings import Method
from timbrel.pipelines.transfer import TransferPipeline, check_device, load
from timbrel.systems.cross import START, STEPS, CrossSystem
from timbrel.systems.listing import load_single_models


def load_cross(
    instrument: str,
    *,
    start: int | None = None,
    forward_steps: int | None = None,
    steps: int | None = None,
    equalise: bool = True,
    models: str | os.PathLike[str] | None = None,
    device: str | None = None,
) -> TransferPipeline:
    """A pipeline that plays recordings on `instrument` by cross-diffusion.

    For example `load_cross("violin")("voice.wav", to="violin").save("voice-violin.wav")`.

    Args:
        instrument: one that has a model of its own.
        start, forward_steps, steps, equalise: see `CrossSystem`. A smaller `start` leaves less of the source.
        models: a folder with models of instruments, beside those that ship.
        device: where it computes: "cpu" (None), "cuda" or "mps".

    Raises:
        ModelError: there is no model of the instrument.
        InputError: a number out of range, or no such device.
    """
    [single] = load_single_models([instrument], models)
    start, steps = START if start is None else start, STEPS if steps is None else steps
    model = CrossSystem(single, start=start, forward_steps=forward_steps, steps=steps, equalise=equalise)
    return TransferPipeline(model.to(check_device(device)))


def load_method(method: Method, instruments: Sequence[str], *, steps: int | None = None) -> dict[str, TransferPipeline]:
    """A pipeline for each instrument: by cross-diffusion, or with the main model, which takes any name or clip.

    Args:
        method: which model plays.
        instruments: their names.
        steps: of the sampler; None is the method's own.

    Raises:
        ModelError: there is no such model, or none of an instrument.
        InputError: a number out of range.
    """
    if method.method == "default":
        return dict.fromkeys(instruments, load(method.model, device=method.device))
    try:
        return {
            name: load_cross(
                name,
                start=method.start,
                forward_steps=method.forward_steps,
                steps=steps,
                equalise=method.equalise,
                models=method.models,
                device=method.device,
            )
            for name in instruments
        }
    except ModelError as error:
        raise ModelError(f"{error}. The main model plays more instruments: --method default (method=)") from error
