"""Puts a recording on another instrument: spectrogram diffusion for music.

    import timbrel

    pipe = timbrel.load()                          # the shipped default, a shipped name, or a folder
    out = pipe("song.mp3", to="violin", seed=0)    # a path, or an array with sample_rate=
    out.save("song-violin.wav")

Everything is imported when it is first used: `import timbrel` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers see of the names below
    from timbrel.audio.io import read_audio as read_audio
    from timbrel.audio.io import write_audio as write_audio
    from timbrel.checkpoint import ModelInfo as ModelInfo
    from timbrel.checkpoint import list_models as list_models
    from timbrel.errors import AudioError as AudioError
    from timbrel.errors import InputError as InputError
    from timbrel.errors import MissingDependencyError as MissingDependencyError
    from timbrel.errors import ModelError as ModelError
    from timbrel.errors import TimbrelError as TimbrelError
    from timbrel.pipelines.accompany import accompany as accompany
    from timbrel.pipelines.cross import load_cross as load_cross
    from timbrel.pipelines.duet import Duet as Duet
    from timbrel.pipelines.duet import duet as duet
    from timbrel.pipelines.transfer import Result as Result
    from timbrel.pipelines.transfer import Source
    from timbrel.pipelines.transfer import TransferPipeline as TransferPipeline
    from timbrel.pipelines.transfer import add_instrument as add_instrument
    from timbrel.pipelines.transfer import load as load

_LAZY = {
    "load": "timbrel.pipelines.transfer",
    "add_instrument": "timbrel.pipelines.transfer",
    "TransferPipeline": "timbrel.pipelines.transfer",
    "load_cross": "timbrel.pipelines.cross",
    "duet": "timbrel.pipelines.duet",
    "Duet": "timbrel.pipelines.duet",
    "accompany": "timbrel.pipelines.accompany",
    "Result": "timbrel.pipelines.transfer",
    "list_models": "timbrel.checkpoint",
    "ModelInfo": "timbrel.checkpoint",
    "read_audio": "timbrel.audio.io",
    "write_audio": "timbrel.audio.io",
    **dict.fromkeys(
        ["TimbrelError", "InputError", "AudioError", "ModelError", "MissingDependencyError"], "timbrel.errors"
    ),
}
__all__ = ["__version__", "transfer", *_LAZY]  # noqa: PLE0604


def transfer(source: Source, to: Source, *, model: str | PathLike[str] | None = None, **options: Any) -> Result:
    """One transfer: `load(model)(source, to=to, **options)`. For several, load once.

    Args:
        source: a path, or an array [channels, samples] with `sample_rate=`.
        to: an instrument's name, or a clip: a path or an array.
        model: a shipped name or a folder; None is the default.
        **options: as the pipeline takes them: strength, steps, guidance, seed, sample_rate.
    """
    from timbrel import load

    return load(model)(source, to=to, **options)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("timbrel")
    if name not in _LAZY:
        raise AttributeError(f"module 'timbrel' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
