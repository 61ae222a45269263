"""The work of the page and of its HTTP interface, over the public API: uploads in, files and takes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import timbrel
from timbrel import (
    AccompanyPipeline,
    AccompanySettings,
    Audio,
    DuetPipeline,
    DuetSettings,
    GeneratePipeline,
    GenerateSettings,
    Method,
    PaintPipeline,
    PaintSettings,
    TransferPipeline,
    TransferSettings,
)
from timbrel.errors import InputError
from timbrel.instruments import INSTRUMENTS, nearest, spelled
from timbrel.pipelines.movie import movie
from timbrel.pipelines.settings import check_whole
from timbrel.systems.listing import single_models
from timbrel.web.jobs import Job, Stopped
from timbrel.web.sounds import Folder, Take, shortened

PIANO = Path(__file__).with_name("piano.ogg")
CLIP = "clip"  # what the style tokens of an upload are called
MOST_TAKES, MOST_FILES = 8, 100
RESULT = "Result"


class Studio:
    """What the page can do.

    Args:
        folder: where its files go.
        model: the transfer model: a shipped name or a folder; None is the one that ships.
    """

    def __init__(self, folder: Folder, model: str | None = None) -> None:
        self.folder, self.model = folder, model
        self.pipe = lru_cache(maxsize=1)(lambda: timbrel.load(model))
        self._painter = lru_cache(maxsize=1)(PaintPipeline.load)
        self._generator = lru_cache(maxsize=1)(GeneratePipeline.load)
        self._band = lru_cache(maxsize=2)(DuetPipeline.load)
        self._clip_tokens = lru_cache(maxsize=64)(lambda path: self.pipe().style_tokens(path))
        self._examples: dict[str, Path] = {}

    # transfer ---------------------------------------------------------------------------------------------------------

    @property
    def instruments(self) -> list[str]:
        return self.pipe().instruments

    @property
    def own_instruments(self) -> list[str]:
        return sorted(set(self.instruments) - set(self.pipe().model.instruments))

    def transfer_file(
        self, job: Job, music: str, sound: Path | str, settings: TransferSettings, *, like_source: bool = False
    ) -> tuple[Path, TransferSettings]:
        """SOURCE-TARGET.wav, and the settings with the transposition that was used.

        Args:
            music: an upload.
            sound: an upload, or the name of an instrument as a str; no other path is ever opened.
            like_source: keep the sample rate and the type of samples.
        """
        source = self.folder.uploaded(music)
        pipe, target, name = self._target(sound)
        if settings.transpose == "auto":
            ranged = isinstance(sound, Path) or target in INSTRUMENTS  # that of an instrument of one's own is not known
            clip = sound if isinstance(sound, Path) else target
            settings = replace(settings, transpose=self.pipe().find_transposition(source, clip) if ranged else 0)
        output = self.folder.new(f"{shortened(source.stem, 100)}-{shortened(name, 100)}.wav")
        pipe.transfer_file(source, output, to=target, like_source=like_source, progress=job.progress, settings=settings)
        return output, settings

    def transfer(self, job: Job, music: str, sound: Path | str, settings: TransferSettings, takes: int) -> list[Take]:
        """Takes, each with its own seed, beside their source."""
        takes = check_whole("takes", takes, 1, MOST_TAKES)
        source, made = self.folder.source(self.folder.uploaded(music)), []
        for k in range(takes):
            job.begin(k, takes, f"take {k + 1} of {takes}" if takes > 1 else "")
            one = replace(settings, seed=settings.seed + k)
            output, used = self.transfer_file(job, music, sound, one)
            name = sound.stem if isinstance(sound, Path) else sound
            label = f"{name}, {_moved(used.transpose)}seed {used.seed}"
            about = self._about("transfer", music=source.path.name, sound=name, settings=asdict(used))
            made.append(Take(label, (source, self.folder.sound(output, RESULT)), about, tuple(job.warnings)))
        return made

    def transfer_all(
        self, job: Job, files: Sequence[str], sound: Path | str, settings: TransferSettings
    ) -> tuple[list[tuple[str, Path | str]], Path | None]:
        """Each file's result, or what is wrong with it; and a zip of the results. One that fails stops no other."""
        check_whole("the number of files", len(files), 1, MOST_FILES)
        rows: list[tuple[str, Path | str]] = []
        for k, file in enumerate(files):
            job.begin(k, len(files), f"{Path(file).name}, {k + 1} of {len(files)}")
            try:
                rows.append((Path(file).name, self.transfer_file(job, file, sound, settings)[0]))
            except Stopped:
                raise
            except Exception as error:
                rows.append((Path(file).name, self.folder.told(error)))
        made = [path for _, path in rows if isinstance(path, Path)]
        name = sound.stem if isinstance(sound, Path) else sound
        return rows, self.folder.zip_files(f"{name}.zip", made) if made else None

    def _target(self, sound: Path | str) -> tuple[TransferPipeline, str, str]:
        """A pipeline, the name that it has for a sound, and that of the sound in files. A clip is encoded once."""
        pipe = self.pipe()
        if isinstance(sound, Path):
            clip = self.folder.uploaded(sound)
            return TransferPipeline(pipe.model, {CLIP: self._clip_tokens(clip)}), CLIP, shortened(clip.stem, 60)
        if name := spelled(sound, pipe.instruments):
            return pipe, name, name
        meant = nearest(sound, pipe.instruments)
        raise InputError(
            f"{sound!r:.100} is no instrument;{f' did you mean {meant!r}?' if meant else ''} expected one of: "
            f"{', '.join(pipe.instruments)}"
        )

    def example(self, instrument: str) -> Path:
        """A phrase that an instrument plays, made when it is first wanted, and again after a day (`sweep`)."""
        path = self._examples.get(instrument)
        if path is None or not path.exists():
            path = self._examples[instrument] = self._example(instrument)
        return path

    def _example(self, instrument: str) -> Path:
        waveform, rate = timbrel.read_audio(PIANO)
        pipe, target, name = self._target(instrument)
        output = self.folder.new(f"{name}.ogg")
        phrase = waveform[:, : round(4.7 * rate)]
        transpose = pipe.find_transposition(phrase, target, sample_rate=rate) if target in INSTRUMENTS else 0
        pipe(phrase, target, sample_rate=rate, transpose=transpose).save(output)
        return output

    # duets and accompaniments -----------------------------------------------------------------------------------------

    @staticmethod
    def players() -> list[str]:
        """Instruments that have a model of their own."""
        return sorted(single_models())

    def duet(self, job: Job, instruments: Sequence[str], settings: DuetSettings) -> list[Take]:
        self._check_names(instruments, self.players())
        stems = self._band(tuple(instruments))(progress=job.progress, settings=settings)
        name = "-".join(instruments)
        paths = stems.save(self.folder.new(name))
        about = self._about("duet", instruments=list(instruments), settings=asdict(settings))
        sounds = tuple(self.folder.sound(path, name.capitalize()) for name, path in paths.items())
        return [Take(f"{name}, seed {settings.seed}", sounds, about, tuple(job.warnings))]

    def accompany(
        self, job: Job, voice: str, instruments: Sequence[str], settings: AccompanySettings, method: Method
    ) -> list[Take]:
        source = self.folder.uploaded(voice)
        self._check_names(instruments, self.players() if method.method == "cross" else self.instruments)
        folder = self.folder.new(shortened(f"{shortened(source.stem, 100)}-with-{'-'.join(instruments)}", 200))
        band = AccompanyPipeline.load(instruments, method)
        paths = band.accompany_file(source, folder, progress=job.progress, settings=settings)
        about = self._about(
            "accompany",
            voice=source.name,
            instruments=list(instruments),
            method=method.method,
            settings=asdict(settings),
        )
        made = [self.folder.sound(path, name.capitalize()) for name, path in paths.items()]
        sounds = (self.folder.source(source), *made)
        return [Take(f"{', '.join(instruments)}, seed {settings.seed}", sounds, about, tuple(job.warnings))]

    def _check_names(self, names: Sequence[str], known: Sequence[str]) -> None:
        if unknown := [name for name in names if name not in known]:
            raise InputError(f"{unknown[0]!r:.100} is no instrument here; expected some of: {', '.join(known)}")

    # sound from a text ------------------------------------------------------------------------------------------------

    def generate(
        self, job: Job, prompt: str, seconds: float, takes: int, loop: bool, settings: GenerateSettings
    ) -> list[Take]:
        takes = check_whole("takes", takes, 1, MOST_TAKES)
        made = self._generator().takes(
            prompt, duration_s=seconds, num_takes=takes, loop=loop, progress=job.progress, settings=settings
        )
        results = []
        for seed, audio in zip(count(settings.seed), made, strict=False):
            used = asdict(replace(settings, seed=seed))
            about = self._about("generate", prompt=prompt, seconds=seconds, loop=loop, settings=used)
            sound = self.folder.sound(self._saved(audio, f"{_words(prompt)}-{seed}.wav"), RESULT)
            results.append(Take(f"{prompt.strip()}, seed {seed}", (sound,), about, tuple(job.warnings)))
        return results

    def inpaint(
        self, job: Job, music: str, span: tuple[float, float], prompt: str, settings: GenerateSettings
    ) -> list[Take]:
        def work(source: Path) -> Audio:
            return self._generator().inpaint(source, [span], prompt, progress=job.progress, settings=settings)

        return self._painted(job, music, work, "filled", {"span_s": span, "prompt": prompt}, settings)

    def extend(
        self, job: Job, music: str, seconds: float, prompt: str, before: bool, settings: GenerateSettings
    ) -> list[Take]:
        def work(source: Path) -> Audio:
            return self._generator().extend(
                source, seconds, prompt, before=before, progress=job.progress, settings=settings
            )

        about = {"seconds": seconds, "before": before, "prompt": prompt}
        return self._painted(job, music, work, "longer", about, settings)

    def _painted(
        self,
        job: Job,
        music: str,
        work: Callable[[Path], Audio],
        ending: str,
        about: dict[str, Any],
        settings: GenerateSettings,
    ) -> list[Take]:
        source = self.folder.uploaded(music)
        made = self._saved(work(source), f"{shortened(source.stem, 100)}-{ending}.wav")
        sounds = self.folder.source(source), self.folder.sound(made, RESULT)
        about = self._about(ending, music=source.name, **about, settings=asdict(settings))
        return [Take(f"{ending}, seed {settings.seed}", sounds, about, tuple(job.warnings))]

    def _saved(self, audio: Audio, name: str) -> Path:
        path = self.folder.new(name)
        audio.save(path)
        return path

    # pictures ---------------------------------------------------------------------------------------------------------

    def paint(self, job: Job, music: str, pictures: int, settings: PaintSettings) -> list[Path]:
        source, paths = self.folder.uploaded(music), []
        pictures = check_whole("pictures", pictures, 1, MOST_TAKES)
        for k, picture in enumerate(self._painter().pictures(source, num_pictures=pictures, settings=settings)):
            job.progress(k + 1, pictures)
            paths.append(self.folder.new(f"{shortened(source.stem, 100)}-{settings.seed + k}.png"))
            picture.save(paths[-1])
        return paths

    def movie(self, job: Job, music: str, settings: PaintSettings) -> Path:
        source = self.folder.uploaded(music)
        path = self.folder.new(f"{shortened(source.stem, 100)}.mp4")
        movie(self._painter(), source, path, progress=job.progress, settings=settings)
        return path

    # instruments of one's own -----------------------------------------------------------------------------------------

    def add_instrument(self, job: Job, name: str, clips: Sequence[str]) -> None:
        timbrel.add_instrument(name.strip(), [self.folder.uploaded(clip) for clip in clips], model=self.model)
        self._forget()

    def remove_instrument(self, job: Job, name: str) -> None:
        timbrel.remove_instrument(name, model=self.model)
        self._forget()

    def _forget(self) -> None:
        self.pipe.cache_clear()
        self._examples.clear()

    def _about(self, task: str, **about: Any) -> dict[str, Any]:
        return {"timbrel": timbrel.__version__, "task": task, "model": self.model or "default", **about}


def _moved(semitones: float | str) -> str:
    return f"{semitones:+g} semitones, " if semitones and not isinstance(semitones, str) else ""


def _words(prompt: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in prompt.lower()).split()
    return "-".join(words)[:40] or "take"
