"""A movie from music (report 004): pictures that turn into each other, in time with the music.

One pass over the recording hears it: 3 s for 3 s as the audio encoder does, and for each frame of the movie how loud it
is, how much sets in, and how tonal it is. Then one scene follows the other. A scene begins at a strong onset and has a
picture of the music around it. The way to the next scene's picture is walked as fast as the music is tonal; each onset
is a pulse of the zoom; loudness is contrast. Neither pass keeps more than a scene.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from timbrel.audio.io import AudioWriter, check_output, open_audio
from timbrel.errors import AudioError, InputError
from timbrel.files import whole
from timbrel.pipelines.listen import Recording, Source
from timbrel.pipelines.palette import Palette
from timbrel.pipelines.picture import DEFAULTS, PaintPipeline, enlarge
from timbrel.pipelines.settings import PaintSettings, Progress

if TYPE_CHECKING:
    from PIL import Image

FPS = 25
SCENE_S, NEAR_S = 8.0, 2.0  # a scene's length, and how far from that the onset may be where it ends
AROUND_S = 15.0  # of music on either side of a scene's beginning makes its picture
DECODED = 5  # frames from one decoded picture to the next; those between are cross-faded
PULSE, PULSE_S = 0.06, 0.25  # of the zoom at the strongest onset, and how long it takes to die away
CONTRAST = 0.18  # more at the loudest, and less at the softest
MARGIN = 1.12  # of the decoded pictures, for the zoom
N_FFT = 1024


@dataclass(frozen=True)
class Course:
    """What is heard of a recording.

    Attributes:
        onset, loudness, tonal: each frame's, [frames], in [0, 1] over the recording.
        features: of the audio encoder [moments of 3 s, width].
    """

    onset: NDArray[np.float64]
    loudness: NDArray[np.float64]
    tonal: NDArray[np.float64]
    features: Tensor

    @property
    def scenes(self) -> list[int]:
        """The frames where scenes begin, the end last: the strongest onset near each multiple of a scene's length."""
        frames, cuts = len(self.onset), [0]
        while cuts[-1] + round((SCENE_S + NEAR_S) * FPS) < frames:
            first = cuts[-1] + round((SCENE_S - NEAR_S) * FPS)
            cuts.append(first + int(self.onset[first : first + round(2 * NEAR_S * FPS)].argmax()))
        return [*cuts, frames]

    @property
    def pulse(self) -> NDArray[np.float64]:
        """Each frame's [frames], in [0, 1]: at once at an onset, then dying away."""
        out, decay, now = np.zeros_like(self.onset), float(np.exp(-1 / (PULSE_S * FPS))), 0.0
        for k, onset in enumerate(self.onset):
            now = out[k] = max(float(onset), decay * now)
        return out


@torch.inference_mode()
def movie(
    pipe: PaintPipeline,
    source: Source,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    settings: PaintSettings = DEFAULTS,
    **options: Any,
) -> None:
    """Writes an MP4 of a recording's file, with its sound.

    Args:
        pipe: paints its pictures.
        source: the path of a recording of any length.
        path: of the movie.
        overwrite: replace one that exists.
        progress: called with the seconds done and the seconds in all.
        settings, **options: as for pictures; the sides have to be even.

    Raises:
        InputError: no file but an array; another suffix than .mp4, a file that exists, or a value out of range.
        AudioError: the recording cannot be read, is silent, or the movie cannot be written.
    """
    import imageio_ffmpeg

    settings = replace(settings, **options)
    recording = Recording.of(source, None)
    check_output(path, overwrite=overwrite, inputs=[recording.name], suffixes=[".mp4"])
    if settings.size % 2:
        raise InputError(f"size is {settings.size}; expected an even number for a movie")
    pipe.check_prompt(settings.prompt)
    if settings.style_of is not None:
        Palette.read(settings.style_of)  # what is no picture is refused before the recording is heard
    course = listen(pipe, recording)
    with tempfile.TemporaryDirectory() as folder, whole(path, overwrite=overwrite) as temporary:
        sound, made = Path(folder, "sound.wav"), Path(folder, "movie.mp4")
        with AudioWriter(sound, recording.sample_rate, recording.channels) as out:
            for block in recording.blocks():
                out.write(block)
        writer = imageio_ffmpeg.write_frames(
            str(made),
            (settings.size, settings.size),
            fps=FPS,
            quality=7,
            macro_block_size=2,
            audio_path=str(sound),
            audio_codec="aac",
            ffmpeg_log_level="error",
        )
        try:
            writer.send(None)
            for k, frame in enumerate(frames(pipe, course, settings)):
                writer.send(np.ascontiguousarray(frame))
                if progress is not None:
                    progress((k + 1) / FPS, len(course.onset) / FPS)
        except OSError as error:
            raise AudioError(f"{Path(path)} cannot be written: {error}") from error
        finally:
            writer.close()
        with open_audio(made):  # of a movie that was cut off ffmpeg finds no sound
            shutil.copyfile(made, temporary)


def listen(pipe: PaintPipeline, recording: Recording) -> Course:
    """Hears a recording, 3 s at a time.

    Raises:
        AudioError: it is silent, or shorter than a second.
    """
    rate = pipe.model.sample_rate
    hop, window = rate // FPS, np.hanning(N_FFT)
    before, last = np.zeros(N_FFT - hop, np.float32), np.zeros(N_FFT // 2 + 1)
    rows, moments = [], []
    for chunk in _chunks(recording, rate):
        moments.append(pipe.model.hear(torch.from_numpy(chunk)).mean(0, keepdim=True))
        padded = np.concatenate([before, chunk, np.zeros(-len(chunk) % hop, np.float32)])
        power = np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::hop] * window)) ** 2 + 1e-9
        logs = np.log(power + 1e-4)
        flux = np.diff(logs, axis=0, prepend=last[None]).clip(0).mean(1)
        flatness = np.exp(np.log(power).mean(1)) / power.mean(1)
        rows.append(np.stack([flux, np.log(power.mean(1) + 1e-6), 1 - flatness]))
        before, last = padded[-len(before) :], logs[-1]
    if sum(row.shape[1] for row in rows) < FPS:
        raise AudioError(f"{recording.name} is shorter than a second; expected more for a movie, or paint a picture")
    onset, level, tonal = np.concatenate(rows, axis=1)
    if level.max() < np.log(1e-5):
        raise AudioError(f"{recording.name} is silent; give one with music in it")
    onset[0] = 0.0
    near = np.convolve(onset, np.ones(9) / 9, mode="same")
    loudness = np.convolve(level, np.hanning(FPS) / np.hanning(FPS).sum(), mode="same")
    return Course(
        _unit((onset - near).clip(0), 99), _unit(loudness - np.percentile(loudness, 5), 95), tonal, torch.cat(moments)
    )


def _chunks(recording: Recording, rate: int) -> Iterator[NDArray[np.float32]]:
    """The mono mix at a rate, 3 s at a time; the last as long as it is."""
    length = 3 * rate
    waiting, scan = np.zeros(0, np.float32), recording.scan()
    for block in recording.blocks_at(rate):
        waiting = np.concatenate([waiting, scan.mix(block)])
        while len(waiting) >= length:
            yield waiting[:length]
            waiting = waiting[length:]
    if len(waiting):
        yield waiting


def _unit(values: NDArray[np.float64], percentile: float) -> NDArray[np.float64]:
    return (values / max(float(np.percentile(values, percentile)), 1e-6)).clip(0, 1)


def frames(pipe: PaintPipeline, course: Course, settings: PaintSettings) -> Iterator[NDArray[np.uint8]]:
    """The frames of a movie, one after the other: uint8 [size, size, 3]. The next pictures are decoded meanwhile."""
    from PIL import Image

    pulse = course.pulse
    with ThreadPoolExecutor(1) as pool:
        pictures = _pictures(pipe, course, settings)
        (start, shown), waiting = next(pictures), pool.submit(next, pictures, None)
        while (found := waiting.result()) is not None:
            waiting = pool.submit(next, pictures, None)
            stop, following = found
            for k in range(start, stop):
                mixed = Image.blend(shown, following, (k - start) / (stop - start))
                yield _frame(mixed, float(pulse[k]), float(course.loudness[k]), settings.size)
            start, shown = found


@torch.inference_mode()
def _pictures(pipe: PaintPipeline, course: Course, settings: PaintSettings) -> Iterator[tuple[int, Image.Image]]:
    """Frames' numbers, `DECODED` apart, the first and the last among them, and the pictures there."""
    scenes, large = course.scenes, round(MARGIN * settings.size)
    palette = None if settings.style_of is None else Palette.read(settings.style_of)
    here = _latents(pipe, course, settings, 0, scenes[0])
    yield 0, _picture(pipe, here, large, palette)
    for number, (first, end) in enumerate(pairwise(scenes)):
        there = _latents(pipe, course, settings, number + 1, end)
        way = np.cumsum(course.tonal[first:end] + 0.05)
        way = way / way[-1]
        for start in range(first, end, DECODED):
            stop = min(start + DECODED, end)
            share = float(way[stop - 1 - first])
            yield stop, _picture(pipe, _between(here, there, share * share * (3 - 2 * share)), large, palette)
        here = there


def _latents(pipe: PaintPipeline, course: Course, settings: PaintSettings, number: int, frame: int) -> Tensor:
    """Of the picture of the music around a frame."""
    middle = frame / FPS
    moments = course.features[int(max(0.0, middle - AROUND_S) // 3) : int((middle + AROUND_S) // 3) + 1]
    return pipe.latents([moments], settings, [settings.seed + number])


def _between(here: Tensor, there: Tensor, share: float) -> Tensor:
    """From one latents to another at a share of the way, with their deviation: a mean of two has less."""
    mixed = torch.lerp(here, there, share)
    size = (1 - share) * here.std() + share * there.std()
    return mixed * (size / mixed.std().clamp_min(1e-3))


def _picture(pipe: PaintPipeline, latents: Tensor, size: int, palette: Palette | None) -> Image.Image:
    from PIL import Image

    return Image.fromarray(enlarge(pipe.levels(latents, palette), size))


def _frame(picture: Image.Image, pulse: float, loudness: float, size: int) -> NDArray[np.uint8]:
    """The middle of a picture, nearer at a pulse and with more contrast where it is loud."""
    from PIL import Image

    contrast = 1 + CONTRAST * (2 * loudness - 1)
    levels = ((np.arange(256) - 128) * contrast + 128 + 14 * pulse).clip(0, 255).astype(int).tolist()
    margin = picture.width * (1 - 1 / MARGIN) / 2 * (0.5 + pulse * PULSE / (MARGIN - 1))
    box = (margin, margin, picture.width - margin, picture.width - margin)
    return np.asarray(picture.point(levels * 3).resize((size, size), Image.Resampling.BILINEAR, box))
