"""A transfer model <-> a folder for programs without torch: its networks as ONNX, and what else they need.

encoder.onnx     mel in dB [1, 1, n_mels, frames] -> latents [1, c, h, frames // factor]
style.onnx       mel of a clip, of 4 * factor frames or more -> style tokens [1, n, width]
denoiser.onnx    noisy_latents, timesteps [1], content (latents), tokens -> clean latents
decoder.onnx     latents [1, c, h, w] -> mel in dB [1, 1, n_mels, factor * w]
tables.npz       filters [n_mels, bins], window [n_fft], alphas_cumprod [timesteps], null_token [width]
instruments.npz  named instruments: style tokens [n, width]
model.json       the mel's settings, the level that the model hears, how it is sampled, how exact the export is

Every length is free, and all numbers are float32, but timesteps, which are int64.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor, nn

from timbrel.audio.level import TARGET_RMS_DB
from timbrel.audio.mel import mel_filters, window
from timbrel.errors import InputError, MissingDependencyError, TimbrelError
from timbrel.files import exists, whole_folder, write_text
from timbrel.models.denoiser import Condition
from timbrel.systems.transfer import TransferSystem

TOLERANCE = 1e-3  # of latents of unit variance, of tokens of unit variance, of dB
LENGTHS = (40, 12, 101)  # frames of latents: of the example that is traced, and of the checks


class Graph(NamedTuple):
    """A function of tensors to export; `inputs` gives arguments by name for so many frames of latents, `free` the
    name of each argument's free dimension."""

    function: Callable[..., Tensor]
    inputs: Callable[[int], dict[str, Tensor]]
    free: Mapping[str, dict[int, str]]
    output: str


class _Whole(nn.Module):
    """All networks of a system and one function of them: what the exporter takes."""

    def __init__(self, system: TransferSystem, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.codec, self.style, self.denoiser = system.codec, system.style, system.denoiser
        self._function = function

    def forward(self, *arguments: Tensor) -> Tensor:
        return self._function(*arguments)


def graphs(system: TransferSystem) -> dict[str, Graph]:
    """What is exported, by the file's name."""
    shape, factor = system.denoiser.mean.shape[:2], system.codec.factor

    def latents(frames: int) -> Tensor:
        return torch.randn(1, *shape, frames)

    def mel(frames: int) -> dict[str, Tensor]:
        return {"mel": torch.empty(1, 1, system.mel.n_mels, factor * frames + 1).uniform_(system.mel.floor_db, 0)}

    def noisy(frames: int) -> dict[str, Tensor]:
        timesteps = torch.tensor([system.schedule.num_train_timesteps - 1 - frames % 2])  # pure noise, and nearly
        tokens = torch.randn(1, frames // 2 + 1, system.token_width)
        return {
            "noisy_latents": latents(frames),
            "timesteps": timesteps,
            "content": latents(frames),
            "tokens": tokens,
        }

    def denoise(noisy_latents: Tensor, timesteps: Tensor, content: Tensor, tokens: Tensor) -> Tensor:
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
        result: Tensor = system.denoiser(noisy_latents, timesteps, Condition(content, tokens, mask))
        return result

    def style(mel: Tensor) -> Tensor:
        tokens: Tensor = system.style(system.codec.encode(mel))
        return tokens

    of_latents, of_mel = {3: "frames"}, {"mel": {3: "frames"}}
    of_denoiser = {"noisy_latents": of_latents, "timesteps": {}, "content": of_latents, "tokens": {1: "n"}}
    return {
        "encoder": Graph(system.codec.encode, mel, of_mel, "latents"),
        "style": Graph(style, mel, of_mel, "tokens"),
        "denoiser": Graph(denoise, noisy, of_denoiser, "clean_latents"),
        "decoder": Graph(system.codec.decode, lambda n: {"latents": latents(n)}, {"latents": of_latents}, "mel"),
    }


def export_onnx(system: TransferSystem, folder: str | Path) -> dict[str, float]:
    """Writes the folder that this module describes, whole or not at all, and compares its results with torch's.

    Args:
        system: on the CPU.
        folder: a new one.

    Returns:
        For each network the largest difference from torch's results, at lengths that the exporter did not see.

    Raises:
        InputError: the folder exists.
        MissingDependencyError: the extra [onnx] is not installed.
        TimbrelError: a result differs by more than `TOLERANCE`.
    """
    _require("onnx", "onnxscript", "onnxruntime")
    if exists(folder):
        raise InputError(f"{folder} exists; name a new folder")
    Path(folder).absolute().parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as place, torch.random.fork_rng([]):
        torch.manual_seed(0)
        differences = {}
        for name, graph in graphs(system).items():
            _export(place / f"{name}.onnx", system, graph)
            differences[name] = _difference(place / f"{name}.onnx", graph)
            if not differences[name] <= TOLERANCE:
                raise TimbrelError(
                    f"{name}.onnx differs from torch by {differences[name]:.2g}; expected at most {TOLERANCE:g}. Other "
                    "versions of torch, onnx or onnxruntime may do better: those of constraints.txt are tested"
                )
        _write_arrays(place / "tables.npz", _tables(system))
        _write_arrays(place / "instruments.npz", system.instruments)
        write_text(place / "model.json", json.dumps(_description(system, differences), indent=2) + "\n")
    return differences


def _require(*modules: str) -> None:
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise MissingDependencyError(
                f"an export to ONNX needs {name} ({error}): pip install 'timbrel[onnx]'"
            ) from error


def _export(path: Path, system: TransferSystem, graph: Graph) -> None:
    inputs = graph.inputs(LENGTHS[0])
    with warnings.catch_warnings(), _without_warnings_of("torch.onnx._internal.exporter._registration"):
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(
            _Whole(system, graph.function).eval(),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=[graph.output],
            dynamic_shapes=(tuple(graph.free[name] for name in inputs),),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@contextmanager
def _without_warnings_of(name: str) -> Iterator[None]:
    """A logger says errors alone meanwhile: the exporter's warns where torchvision is missing, which is not needed."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _difference(path: Path, graph: Graph) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for length in LENGTHS[1:]:
        inputs = graph.inputs(length)
        (result,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        with torch.inference_mode():
            expected = graph.function(*inputs.values()).numpy()
        worst = max(worst, float(np.abs(result - expected).max()) if result.shape == expected.shape else np.inf)
    return worst


def _tables(system: TransferSystem) -> dict[str, Tensor]:
    return {
        "filters": mel_filters(system.mel),
        "window": window(system.mel),
        "alphas_cumprod": system.schedule.alphas_cumprod,
        "null_token": system.denoiser.null_token.detach(),
    }


def _write_arrays(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """An .npz as numpy writes it, of any names: np.savez takes none that is called like an argument of its own."""
    with ZipFile(path, "w") as archive:
        for name, tensor in tensors.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, tensor.float().numpy(), allow_pickle=False)


def _description(system: TransferSystem, differences: Mapping[str, float]) -> dict[str, Any]:
    return {
        "mel": dataclasses.asdict(system.mel),
        "factor": system.codec.factor,
        "latents": list(system.denoiser.mean.shape[:2]),
        "level_db": TARGET_RMS_DB,
        "prediction_type": system.schedule_config.prediction_type,
        "sampling": {"steps": 1, "guidance": 1.0} | system.info.get("sampling", {}),
        "postfilter": not system.denoiser.config.noise_input,
        "differences": dict(differences),
        "purpose": system.info.get("purpose", ""),
    }
