"""Pictures from music (report 004).

30 s of music -> moments -> one token beside the prompt's; noise -> latents -> picture [128 x 128] -> the size asked for
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from timbrel import files
from timbrel.audio.io import check_output
from timbrel.data.paint.labels import EXCERPT_S
from timbrel.diffusion.samplers import dpm_solver_pp_2m, seeded_noise
from timbrel.diffusion.schedules import inference_timesteps
from timbrel.errors import AudioError, InputError, warn
from timbrel.models.text_unet import Text
from timbrel.pipelines.listen import Recording, Source
from timbrel.pipelines.palette import Palette
from timbrel.pipelines.settings import MOST_SEED, MOST_TAKES, PaintSettings, check_whole
from timbrel.systems.base import Sampling
from timbrel.systems.folder import load_system
from timbrel.systems.picture import PictureSystem
from timbrel.systems.stable_painter import is_stable_painter, load_stable_painter

DEFAULTS = PaintSettings()
SHIPPED = "picture"
BACK_PROJECTIONS = 3


@dataclass(frozen=True)
class Picture:
    """A picture, and how it was made.

    Attributes:
        pixels: uint8 [height, width, 3], red first.
        about: what a PNG keeps of how it was made, by name.
    """

    pixels: NDArray[np.uint8]
    about: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes a PNG, whole or not at all; `about` is in its text "timbrel", as JSON.

        Raises:
            InputError: another suffix than .png, or the file exists and `overwrite` is False.
            AudioError: the folder is missing or cannot be written to.
        """
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        check_output(path, overwrite=overwrite, suffixes=[".png"])
        info, png = PngInfo(), io.BytesIO()
        info.add_text("timbrel", json.dumps(self.about))
        Image.fromarray(self.pixels).save(png, "PNG", pnginfo=info)
        try:
            files.write_bytes(path, png.getvalue(), overwrite=overwrite)
        except OSError as error:
            raise AudioError(f"{path} cannot be written: {error.strerror}") from error


class PaintPipeline:
    """A model that paints pictures from music, ready to use. Make one with `load`.

    Attributes:
        model: the system that paints.
        name: of the model, or its folder.
    """

    def __init__(self, model: PictureSystem, name: str = "") -> None:
        self.model, self.name = model, name
        self._sampling = Sampling(**model.info.get("sampling", {}))

    @classmethod
    def load(cls, model: str | os.PathLike[str] | None = None) -> Self:
        """From a model folder, or the name of a model that ships.

        Raises:
            ModelError: the folder is missing, broken or holds another kind of model; Stable Diffusion or the audio
                encoder that it points to cannot be read.
            MissingDependencyError: it is over Stable Diffusion, and the extra [hub] is not installed.
        """
        name = os.fspath(model or SHIPPED)
        system = load_stable_painter(name) if is_stable_painter(name) else load_system(name, PictureSystem)
        return cls(system, Path(name).name)

    def __call__(self, source: Source, **options: Any) -> list[Picture]:
        """Paints pictures from music: the same arguments as `pictures`, and all pictures as a list."""
        return list(self.pictures(source, **options))

    @torch.inference_mode()
    def pictures(
        self,
        source: Source,
        *,
        num_pictures: int = 1,
        start_s: float | None = None,
        sample_rate: int | None = None,
        settings: PaintSettings = DEFAULTS,
        **options: Any,
    ) -> Iterator[Picture]:
        """Paints pictures from music.

        Args:
            source: a recording: a path, or an array [channels, samples] with `sample_rate`. 30 s of it are heard; of a
                shorter one all, repeated up to 3 s.
            num_pictures: how many, each with its own seed; a picture is the same alone as among others.
            start_s: from where on they are heard, in seconds; None is the middle.
            sample_rate: of an array, in Hz.
            settings: see `PaintSettings`.
            **options: its fields, in place of those in `settings`: prompt, size, num_inference_steps, guidance_scale,
                seed.

        Yields:
            Each picture as soon as it is made.

        Raises:
            InputError: a prompt without a word that is known or longer than the text encoder reads, a value out of
                range, or `style_of` is no picture.
            AudioError: the recording cannot be read, or is silent.
        """
        settings = replace(settings, **options)
        palette = None if settings.style_of is None else Palette.read(settings.style_of)
        num_pictures = check_whole("num_pictures", num_pictures, 1, MOST_TAKES)
        check_whole("seed", settings.seed + num_pictures - 1, 0, MOST_SEED)
        recording, prompt = Recording.of(source, sample_rate), self.check_prompt(settings.prompt)
        features = self.hear(recording, start_s)
        for seed in range(settings.seed, settings.seed + num_pictures):
            levels = self.levels(self.latents([features], settings, [seed]), palette)
            about = {
                "model": self.name,
                "music": Path(recording.name).name,
                "prompt": prompt,
                "seed": seed,
                "steps": self._steps(settings),
                "guidance": self._guidance(settings),
                "size": settings.size,
                "style_of": settings.style_of and Path(settings.style_of).name,
            }
            yield Picture(enlarge(levels, settings.size), about)

    @torch.inference_mode()
    def hear(self, recording: Recording, start_s: float | None = None) -> Tensor:
        """What the model hears of 30 s of a recording [moments, width]; None is its middle.

        Raises:
            AudioError: as `pictures`.
        """
        return self.model.hear(torch.from_numpy(recording.excerpt(start_s, EXCERPT_S, self.model.sample_rate)))

    @torch.inference_mode()
    def latents(self, features: Sequence[Tensor | None], settings: PaintSettings, seeds: Sequence[int]) -> Tensor:
        """Latents [n, c, h, w] of n pictures of music, as `hear` gives it, or all of none; each with its own seed."""
        texts = [self.model.condition(settings.prompt.strip(), music) for music in features]
        text = Text(*(torch.cat(parts) for parts in zip(*texts, strict=True)))
        timesteps = inference_timesteps(self.model.schedule, self._steps(settings))
        noise = seeded_noise(self.model.latent_shape, list(seeds))
        model = self.model.model(text, self._guidance(settings))
        return dpm_solver_pp_2m(model, noise, self.model.schedule, timesteps)

    @torch.inference_mode()
    def levels(self, latents: Tensor, palette: Palette | None = None) -> NDArray[np.float32]:
        """Latents [1, c, h, w] as a picture of the model's own size [128, 128, 3], levels 0 to 255, in the colours of a
        palette."""
        levels = ((self.model.decode(latents)[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).numpy()
        return levels if palette is None else palette.put_on(levels)

    def _steps(self, settings: PaintSettings) -> int:
        return settings.num_inference_steps or self._sampling.steps

    def _guidance(self, settings: PaintSettings) -> float:
        return self._sampling.guidance if settings.guidance_scale is None else settings.guidance_scale

    def check_prompt(self, prompt: str) -> str:
        """A prompt as it is read, without the space around it; warns of words that the model does not know.

        Raises:
            InputError: as `pictures`.
        """
        if not isinstance(prompt, str):
            raise InputError(f"prompt is {prompt!r:.60}; expected a str")
        prompt = prompt.strip()
        self.model.text.check_length(prompt)
        if prompt and (unknown := self.model.text.unknown_words(prompt)):
            if not self.model.text.knows(prompt):
                raise InputError(f"prompt is {prompt!r:.200}; expected an English word that is known, or none: ''")
            warn(f"the model does not know {', '.join(unknown)}; left out")
        return prompt


def enlarge(levels: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """A picture [h, w, 3] with levels 0-255 at another size, [size, size, 3].

    Lanczos, then back-projection (Irani and Peleg 1991): what the picture made small again lacks is added, so that it
    stays as sharp as it was.
    """
    from PIL import Image

    def resized(channels: NDArray, height: int, width: int) -> NDArray:
        whole = [
            Image.fromarray(c).resize((width, height), Image.Resampling.LANCZOS) for c in np.moveaxis(channels, 2, 0)
        ]
        return np.stack([np.asarray(one) for one in whole], axis=2)

    large = resized(levels.astype(np.float32), size, size)
    for _ in range(BACK_PROJECTIONS if size > levels.shape[0] else 0):
        large = large + resized(levels - resized(large, *levels.shape[:2]), size, size)
    return (large.clip(0, 255) + 0.5).astype(np.uint8)
