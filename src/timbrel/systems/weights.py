"""Networks and tensors <-> safetensors files, whole or not at all. What is not finite is no weight."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from timbrel.errors import ModelError
from timbrel.files import whole


def fingerprint(module: nn.Module) -> str:
    """Eight hex digits of a network's weights: another network has others."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool)
SCALE = ".scale"  # after a parameter's name: of its rows, where they are kept as whole numbers


def save_weights(path: Path, module: nn.Module, dtype: torch.dtype, *, compact: bool = False) -> None:
    """Writes a network's parameters in `dtype`, its buffers as they are.

    Args:
        compact: matrices and kernels as whole numbers of 8 bits, each row with its scale: half of bfloat16's size, and
            an error of up to 0.4 % of the row's largest weight. `load_weights` sees it in the file.
    """
    parameters = {name for name, _ in module.named_parameters()}
    tensors: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        if compact and name in parameters and tensor.ndim > 1:
            tensors[name], tensors[name + SCALE] = _in_8_bits(tensor.detach().float())
        else:
            tensors[name] = tensor.to(dtype) if name in parameters else tensor
    save_tensors(path, {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def _in_8_bits(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [n, ...] as whole numbers from -127 to 127, and the scale of each row [n]."""
    scale = (rows.abs().flatten(1).amax(dim=1) / 127).clamp_min(1e-12)
    return (rows / _over_rows(scale, rows)).round().to(torch.int8), scale


def _over_rows(scale: Tensor, rows: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (rows.ndim - 1))


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes tensors by name.

    Raises:
        ModelError: they cannot be written.
    """
    try:
        with whole(path) as temporary:
            save_file(tensors, temporary)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be written ({error}); free some space, or name another place") from error


def check_weights(path: Path, module: nn.Module) -> None:
    """Reads the names and shapes in a file alone.

    Raises:
        ModelError: they are not those of the network.
    """
    expected = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            compact = [name for name, part in slices.items() if part.get_dtype() == "I8"]
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} does not hold this model's weights: {error}") from error
    expected |= {name + SCALE: expected.get(name, ())[:1] for name in compact}
    if wrong := sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name)):
        name = wrong[0]
        raise ModelError(
            f"{path} does not hold this model's weights: {name} has the shape {shapes.get(name, 'of nothing')}; "
            f"expected {expected.get(name, 'no such tensor')}"
        )


def load_weights(path: Path, module: nn.Module) -> None:
    """Gives a network, which may be on the meta device, the weights of a file that `check_weights` allows.

    Raises:
        ModelError: the file cannot be read, or a weight is not finite.
    """
    tensors = load_tensors(path)
    for name in [name for name, tensor in tensors.items() if tensor.dtype == torch.int8]:
        tensors[name] = tensors[name] * _over_rows(tensors.pop(name + SCALE), tensors[name])
        _check_finite(path, name, tensors[name])
    types = {name: t.dtype for name, t in module.state_dict().items()}
    module.load_state_dict({name: t.to(types[name], copy=True) for name, t in tensors.items()}, assign=True)
    module.eval().requires_grad_(False)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, which share its memory.

    Raises:
        ModelError: the file cannot be read, or holds a type or a number that no weight has.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is broken ({error}); delete it, or make it anew") from error
    for name, tensor in tensors.items():
        if tensor.dtype not in TYPES:
            raise ModelError(f"{path} holds {name!r} as {tensor.dtype}; expected float32, bfloat16 or the like")
        _check_finite(path, name, tensor)
    return tensors


def _check_finite(path: Path, name: str, tensor: Tensor) -> None:
    if not bool(tensor.isfinite().all()):
        raise ModelError(f"{path} is broken: {name!r} holds NaN or infinite numbers; delete it, or make it anew")
