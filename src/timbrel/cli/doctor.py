"""`timbrel doctor`."""

from __future__ import annotations

import importlib
import platform
import shutil
from collections.abc import Iterator, Mapping

from timbrel.errors import TimbrelError

CORE = ("torch", "numpy", "scipy", "soundfile", "soxr", "imageio-ffmpeg", "safetensors", "tyro")
PARTS = {  # what it is -> how it comes, what it unlocks
    "accelerate": ("pip install 'timbrel[train]'", "timbrel train"),
    "tensorboard": ("pip install 'timbrel[train]'", "curves of a training"),
    "music21": ("pip install 'timbrel[data]'", "scores for `data synth`"),
    "pretty_midi": ("pip install 'timbrel[data]'", "MIDI files for `data synth`"),
    "yt-dlp": ("pip install 'timbrel[data]'", "data download"),
    "librosa": ("pip install 'timbrel[metrics]'", "evaluate"),
    "mir_eval": ("pip install 'timbrel[metrics]'", "notes and onsets in evaluate"),
    "scikit-learn": ("pip install 'timbrel[metrics]'", "the instrument classifier in evaluate"),
    "onnxruntime": ("pip install 'timbrel[metrics]'", "the transcriber in evaluate"),
    "basic-pitch": ("pip install --no-deps basic-pitch", "notes in evaluate"),
    "musicnn": ("pip install --no-deps musicnn", "evaluate distance --encoder musicnn, heard as"),
    "gradio": ("pip install 'timbrel[web]'", "timbrel web"),
    "transformers": ("pip install 'timbrel[hub]'", "text encoders and CLAP"),
    "onnxscript": ("pip install 'timbrel[onnx]'", "export"),
    "diffusers": ("pip install 'timbrel[hub]'", "paint and train over Stable Diffusion"),
    "huggingface-hub": ("pip install 'timbrel[hub]'", "models and weights named OWNER/REPO"),
}
PROGRAMS = {"timidity": "data synth, evaluate build, reproduce", "espeak-ng": "speech in data sounds"}


def doctor() -> int:
    """Say what is installed: versions, devices, and optional parts with what they unlock.

    For example:

        timbrel doctor
    """
    import timbrel

    states = {name: _state(name) for name in CORE}
    print(f"timbrel {timbrel.__version__}, Python {platform.python_version()}, {platform.platform()}")
    print("  " + ", ".join(f"{name} {state}" for name, state in states.items()))
    for line in (*_ffmpeg(states), *_devices(states)):
        print(line)
    for name, (command, use) in PARTS.items():
        found = _version(name)
        print(f"  {name} {found}: {use}" if found else f"  no {name} ({use}): {command}")
    for name, use in PROGRAMS.items():
        place = shutil.which(name)
        print(f"  {name} {place}: {use}" if place else f"  no {name} ({use}): the system's package")
    return TimbrelError.exit_code if any(state.startswith(("MISSING", "BROKEN")) for state in states.values()) else 0


def _ffmpeg(states: Mapping[str, str]) -> Iterator[str]:
    if states["imageio-ffmpeg"][0].isdigit():
        import imageio_ffmpeg

        try:
            yield f"  ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}: {imageio_ffmpeg.get_ffmpeg_exe()}"
        except RuntimeError as error:
            yield f"  ffmpeg MISSING, which m4a, webm and videos need: {error}"


def _devices(states: Mapping[str, str]) -> Iterator[str]:
    if states["torch"][0].isdigit():
        import torch

        from timbrel.parallel import processors

        yield f"  cpu: {processors()} processors, {torch.get_num_threads()} threads"
        for number in range(torch.cuda.device_count()):
            yield f"  cuda: {torch.cuda.get_device_name(number)}"
        if torch.backends.mps.is_available():
            yield "  mps: Apple GPU"


def _state(package: str) -> str:
    """Its version, or what is wrong with it."""
    try:
        importlib.import_module(package.replace("-", "_"))
    except Exception as error:
        return f"BROKEN ({type(error).__name__}: {error})" if _version(package) else "MISSING"
    return _version(package) or "MISSING"


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
