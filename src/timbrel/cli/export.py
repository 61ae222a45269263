"""`timbrel export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def export(
    model: Annotated[str | None, Positional, arg(metavar="[MODEL]", help_behavior_hint="(default: default)")] = None,
    *,
    to: Literal["onnx"] = "onnx",
    output: Annotated[Path, arg(aliases=["-o"], metavar="DIR")],
) -> None:
    """Write a transfer model for programs without torch: its networks as ONNX, and what else they need.

    For example:

        timbrel export -o piano-and-more
        timbrel export runs/mine/model --to onnx -o mine-onnx
        python examples/onnx_transfer.py mine-onnx song.wav violin song-violin.wav

    Needs the extra [onnx]. Each network is compared with torch at other lengths than it was exported at.

    Args:
        model: A model that ships or a model folder, of `timbrel train transfer`.
        to: The format.
        output: The new folder.
    """
    from timbrel.systems.folder import load_system
    from timbrel.systems.onnx import TOLERANCE, export_onnx
    from timbrel.systems.transfer import TransferSystem

    differences = export_onnx(load_system(model, TransferSystem), output)
    for name, difference in differences.items():
        print(f"{output / name}.onnx: at most {difference:.1g} from torch (allowed: {TOLERANCE:g})")
