"""`timbrel doctor`."""

from __future__ import annotations

import platform
import shutil

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
    "transformers": ("pip install 'timbrel[hub]'", "text encoders and CLAP"),
    "onnxscript": ("pip install 'timbrel[onnx]'", "export"),
}
PROGRAMS = {"timidity": "data synth, evaluate build, reproduce", "espeak-ng": "speech in data sounds"}


def doctor() -> None:
    """Say what is installed: versions, devices, and optional parts with what they unlock.

    For example:

        timbrel doctor
    """
    import imageio_ffmpeg
    import torch

    import timbrel
    from timbrel.parallel import processors

    print(f"timbrel {timbrel.__version__}, Python {platform.python_version()}, {platform.platform()}")
    print("  " + ", ".join(f"{name} {_version(name) or 'MISSING'}" for name in CORE))
    try:
        print(f"  ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}: {imageio_ffmpeg.get_ffmpeg_exe()}")
    except RuntimeError as error:
        print(f"  ffmpeg MISSING, which m4a, webm and videos need: {error}")
    print(f"  cpu: {processors()} processors, {torch.get_num_threads()} threads")
    for number in range(torch.cuda.device_count()):
        print(f"  cuda: {torch.cuda.get_device_name(number)}")
    if torch.backends.mps.is_available():
        print("  mps: Apple GPU")
    for name, (command, use) in PARTS.items():
        found = _version(name)
        print(f"  {name} {found}: {use}" if found else f"  no {name} ({use}): {command}")
    for name, use in PROGRAMS.items():
        place = shutil.which(name)
        print(f"  {name} {place}: {use}" if place else f"  no {name} ({use}): the system's package")


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
