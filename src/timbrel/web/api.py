"""The same by HTTP: endpoints of gradio, for its client and for curl (docs/web.md)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import FileData
from gradio.context import LocalContext

from timbrel import AccompanySettings, DuetSettings, GenerateSettings, Method, PaintSettings, TransferSettings
from timbrel.errors import InputError
from timbrel.web.jobs import Job, Jobs
from timbrel.web.sounds import Take
from timbrel.web.tasks import Studio


def add(studio: Studio, jobs: Jobs) -> None:
    """Adds the endpoints to the page that is being made."""

    async def done(work: Callable[[Job], Any]) -> Any:
        """The result of a job, when it is its turn."""
        try:
            return await jobs.outcome(f"api {LocalContext.event_id.get()} ", work)
        except Exception as error:
            raise gr.Error(studio.folder.told(error), print_exception=False) from error

    def stems(takes: list[Take]) -> list[FileData]:
        return [_file(sound.path) for sound in takes[0].sounds if not sound.is_source]

    def instruments() -> list[str]:
        """The names that `sound` takes."""
        return studio.instruments

    def stop(event_id: str) -> bool:
        """Ends the call that was answered with this `event_id`; whether it was waiting or running."""
        return jobs.stop(f"api {event_id} ")

    async def transfer(
        music: FileData,
        sound: str = "",
        clip: FileData | None = None,
        strength: float = 1.0,
        transpose: str | float = 0,
        mix: float = 1.0,
        seed: int = 0,
        loop: bool = False,
        like_source: bool = True,
    ) -> FileData:
        """Plays `music` on the instrument `sound`, or with the sound of `clip`."""

        def work(job: Job) -> Path:
            target = Path(_path(clip)) if clip else _name(sound)
            moved: Any = _number(transpose)
            settings = TransferSettings(strength=strength, transpose=moved, mix=mix, seed=seed, loop=loop)
            return studio.transfer_file(job, _path(music), target, settings, like_source=like_source)[0]

        return _file(await done(work))

    async def duet(instruments: list[str], seconds: float = 10.0, split: int = 5, seed: int = 0) -> list[FileData]:
        """Music that instruments make up together: each alone, and the mix last."""

        def work(job: Job) -> list[Take]:
            return studio.duet(job, _names(instruments), DuetSettings(seconds=seconds, split=split, seed=seed))

        return stems(await done(work))

    async def accompany(
        voice: FileData, instruments: list[str], level_db: float = -6.0, seed: int = 0, method: str = "default"
    ) -> list[FileData]:
        """Instruments that follow a voice: each alone, and the mix with the voice last."""

        def work(job: Job) -> list[Take]:
            settings = AccompanySettings(level_db=level_db, seed=seed)
            return studio.accompany(job, _path(voice), _names(instruments), settings, Method(method))  # type: ignore[arg-type]

        return stems(await done(work))

    async def generate(prompt: str, seconds: float = 10.0, seed: int = 0, loop: bool = False) -> FileData:
        """Sound from a text."""
        made = await done(lambda job: studio.generate(job, prompt, seconds, 1, loop, GenerateSettings(seed=seed)))
        return stems(made)[0]

    async def inpaint(music: FileData, start_s: float, end_s: float, prompt: str = "", seed: int = 0) -> FileData:
        """A part of a recording made anew."""

        def work(job: Job) -> list[Take]:
            return studio.inpaint(job, _path(music), (start_s, end_s), prompt, GenerateSettings(seed=seed))

        return stems(await done(work))[0]

    async def extend(
        music: FileData, seconds: float, prompt: str = "", before: bool = False, seed: int = 0
    ) -> FileData:
        """A recording that goes on from its end, or begins earlier."""

        def work(job: Job) -> list[Take]:
            return studio.extend(job, _path(music), seconds, prompt, before, GenerateSettings(seed=seed))

        return stems(await done(work))[0]

    async def paint(music: FileData, prompt: str = PaintSettings.prompt, size: int = 512, seed: int = 0) -> FileData:
        """A picture of 30 s of music."""

        def work(job: Job) -> list[Path]:
            return studio.paint(job, _path(music), 1, PaintSettings(prompt=prompt, size=size, seed=seed))

        return _file((await done(work))[0])

    for function in (instruments, stop, transfer, duet, accompany, generate, inpaint, extend, paint):
        gr.api(function, api_name=function.__name__, concurrency_limit=None)


def _path(file: Any) -> str:
    """Of an upload, as a client names it; `Folder.uploaded` checks it before it is opened."""
    path = file.get("path") if isinstance(file, dict) else getattr(file, "path", None)
    if not isinstance(path, str):
        raise InputError(f"{file!r:.100} is no upload; expected an object with the path that /upload answers with")
    return path


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"sound is {value!r:.100}; expected the name of an instrument")
    return value


def _names(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise InputError(f"instruments is {value!r:.100}; expected a list of names")
    return value


def _number(value: Any) -> Any:
    """Of its text too; another value is left as it is, for the settings to refuse."""
    with suppress(TypeError, ValueError):
        return float(value)
    return value


def _file(path: Path) -> FileData:
    return FileData(path=str(path), orig_name=path.name)
