"""`timbrel transfer`."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

from tyro.conf import Positional, arg

from timbrel.cli.shared import FLAGS, MethodFlags, TransferFlags, plain_warnings, progress_bar
from timbrel.errors import InputError, TimbrelError, warn
from timbrel.files import exists
from timbrel.pipelines.settings import Progress

if TYPE_CHECKING:
    from timbrel.pipelines.transfer import TransferPipeline

DEFAULTS, MAIN = TransferFlags(), MethodFlags()
LONGEST_NAME = 255  # bytes, of a file
STANDARD = Path("-")  # standard input, or output


def transfer(
    sources: Annotated[tuple[Path, ...], Positional, arg(metavar="SOURCE...", help_behavior_hint="(required)")],
    *,
    to: Annotated[str, arg(metavar="INSTRUMENT|CLIP")],
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE", help_behavior_hint="")] = None,
    output_dir: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: this one)")] = None,
    settings: Annotated[TransferFlags, FLAGS] = DEFAULTS,
    picture: Annotated[Path | None, arg(metavar="FILE.png", help_behavior_hint="")] = None,
    sample_rate: Annotated[int | None, arg(metavar="HZ", help_behavior_hint="(default: the model's, 44100)")] = None,
    floating: Annotated[bool, arg(name="float")] = False,
    like_source: bool = False,
    track: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the one that is marked so)")] = None,
    overwrite: bool = False,
    skip_existing: bool = False,
    ray: Annotated[str | None, arg(metavar="auto|ADDRESS", help_behavior_hint="")] = None,
    method: Annotated[MethodFlags, FLAGS] = MAIN,
) -> int:
    """Put recordings on another instrument: the same melody and rhythm, another sound.

    For example:

        timbrel transfer song.mp3 --to violin
        timbrel transfer song.mp3 --to harp -o harp.flac --strength 0.7 --picture harp.png
        timbrel transfer *.wav --to my-cello.wav --output-dir on-cello
        timbrel transfer album --to flute --skip-existing

    The first writes song-violin.wav into the current folder, the last what is in the folder album and in the folders
    in it into album-flute. Of several sources one that fails does not stop the others. An input is never overwritten.

    Args:
        sources: Recordings of any length: wav, flac, ogg, mp3, m4a, aac, webm, the sound of a video... A folder stands
            for all in it, - for standard input.
        to: The name of an instrument (`timbrel models` lists them), or a recording, some seconds of it alone.
        output: Where the result goes, for a single source; .wav, .flac, .ogg or .mp3 says the format. A wav goes to
            standard output for -.
        output_dir: The folder where results go, named SOURCE-TARGET.wav; made if it is missing.
        settings: How the sources are transferred.
        picture: Also draw source, style clip and result as mel spectrograms, for a single source.
        sample_rate: Sample rate of the result.
        floating: Write a .wav of 32-bit floating-point samples: nothing is turned down or clipped.
        like_source: Keep the source's sample rate and bit depth, where the format has them.
        track: Which sound track of a video with several, from 1.
        overwrite: Replace results that exist.
        skip_existing: Leave results that exist, and make the others.
        ray: Transfer on a Ray cluster, all of whose nodes see the sources and the results under the same names.
        method: Which model plays.
    """
    if ray and STANDARD in (*sources, output):
        raise InputError("--ray is given, and -, which a cluster cannot see; expected files")
    with _standard_streams(sources, output) as (given, wanted, say, complain), plain_warnings(complain):
        jobs = _plan(given, to, wanted, output_dir)
        if len(jobs) > 1 and picture:
            raise InputError(
                f"{len(jobs)} sources are given, and --picture, which names one file; make a call for each"
            )
        inputs = [source for source, _ in jobs]
        subtype = "FLOAT" if floating else None
        if picture:
            _check_output(picture, inputs, to, overwrite, suffixes=[".png"])
        if _is_clip(to):
            _check_source(Path(to), hint="make a recording of another one to name that")
        if skip_existing:
            jobs = [job for job in jobs if not exists(job[1])]

        def check(source: Path, output: Path) -> None:
            channels = _check_source(source, track)
            of_file: dict[str, object] = {"sample_rate": sample_rate, "channels": channels, "subtype": subtype}
            _check_output(output, inputs, to, overwrite, **of_file)

        def succeeds(work: Callable[[Path, Path], None], source: Path, output: Path) -> bool:
            """Does one file's part of the work; False, and a message, where it fails."""
            try:
                work(source, output)
            except (TimbrelError, OSError) as error:
                complain(f"timbrel: {error}")
                return False
            return True

        ready = [job for job in jobs if succeeds(check, *job)]
        done = len(inputs) - len(jobs)
        if ready:
            options = {
                "output_rate": sample_rate,
                "subtype": subtype,
                "like_source": like_source,
                "track": track,
                "overwrite": overwrite,
                "picture": picture,
            }
            work = _Work(to, settings, method, options)
            pipe = work.load()
            pipe.check_target(to)

            def run(source: Path, output: Path) -> None:
                with progress_bar(source.name) as progress:
                    say(work.transfer(pipe, source, output, progress))

            if ray is None:
                done += sum(succeeds(run, *job) for job in ready)
            else:
                done += _on_cluster(work, ready, ray, say, complain)
        if len(inputs) > 1:
            say(f"{done} of {len(inputs)} done")
        return 0 if done == len(inputs) else TimbrelError.exit_code


Say = Callable[[str], None]


@dataclass(frozen=True)
class _Work:
    """The transfer of a file, which any process can do."""

    to: str
    settings: TransferFlags
    method: MethodFlags
    options: dict[str, Any]

    def load(self) -> TransferPipeline:
        from timbrel.pipelines.cross import load_method

        return load_method(self.method, [self.to], steps=self.settings.steps)[self.to]

    def transfer(self, pipe: TransferPipeline, source: Path, output: Path, progress: Progress | None = None) -> str:
        """Writes the result; says what it did."""
        begin, transpose = time.monotonic(), self.settings.transpose
        if transpose == "auto":
            transpose = pipe.find_transposition(source, self.to, track=self.options["track"])
        settings = replace(self.settings, transpose=transpose)
        pipe.transfer_file(source, output, to=self.to, progress=progress, settings=settings, **self.options)
        moved = f"{transpose:+g} semitones, " if transpose else ""
        return f"{source} -> {output} ({moved}{time.monotonic() - begin:.1f} s)"

    def __call__(self, job: tuple[Path, Path]) -> str:
        """For a process that does this work alone: the model is loaded once. Says warnings, too."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            line = self.transfer(_loaded(pickle.dumps(self)), *job)
        return "\n".join([line, *(f"timbrel: {warning.message}" for warning in said)])


@lru_cache(maxsize=1)
def _loaded(work: bytes) -> TransferPipeline:
    return cast(_Work, pickle.loads(work)).load()


def _on_cluster(work: _Work, jobs: Sequence[tuple[Path, Path]], address: str, say: Say, complain: Say) -> int:
    """How many succeed. What is there was checked; a file of a node that was lost just after it is made again."""
    from timbrel.parallel import outcomes

    to = str(Path(work.to).absolute()) if os.path.exists(work.to) else work.to
    model = work.method.model
    method = replace(work.method, model=os.path.abspath(model)) if model and os.path.isdir(model) else work.method
    work = replace(work, to=to, method=method, options=work.options | {"overwrite": True})
    places = [(source.absolute(), output.absolute()) for source, output in jobs]
    failed = []
    for job, outcome in outcomes(work, places, cluster=address, name="transfer", unit="file"):
        if error := outcome.exception():
            failed.append(f"{job[0]}: {error}")
        else:
            say(outcome.result())
    for line in sorted(failed):
        complain(f"timbrel: {line}")
    return len(jobs) - len(failed)


@contextmanager
def _standard_streams(
    sources: Sequence[Path], output: Path | None
) -> Iterator[tuple[Sequence[Path], Path | None, Say, Say]]:
    """Puts files in the place of standard input and output; yields sources, output, and functions that print what is
    done and what is wrong."""
    is_piped = output == STANDARD
    with TemporaryDirectory(prefix="timbrel-") as folder:
        heard, made = Path(folder, "stdin"), Path(folder, "stdout.wav")

        def show(text: str, stream: TextIO) -> None:
            for path, name in ((heard, "standard input"), (made, "standard output")):
                text = text.replace(str(path), name)
            print(text, file=stream, flush=True)

        if STANDARD in sources:
            with heard.open("wb") as copy:
                shutil.copyfileobj(sys.stdin.buffer, copy)
        files = [heard if source == STANDARD else source for source in sources]
        say, complain = partial(show, stream=sys.stderr if is_piped else sys.stdout), partial(show, stream=sys.stderr)
        yield files, made if is_piped else output, say, complain
        if made.exists():
            with made.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)


def _plan(sources: Sequence[Path], to: str, output: Path | None, output_dir: Path | None) -> list[tuple[Path, Path]]:
    """Each recording with its output; folders are made."""
    if not sources:
        raise InputError("there is no SOURCE; expected a recording: timbrel transfer song.mp3 --to violin")
    if output and output_dir:
        raise InputError(f"both -o {output} and --output-dir {output_dir} are given; expected one of them")
    target = Path(to).stem if _is_clip(to) else to
    places: dict[Path, tuple[Path, Path]] = {}  # so that the same source, named twice, is one
    for source in sources:
        for recording, folder in _recordings(source, target, output_dir):
            places.setdefault(recording.absolute(), (recording, folder))
    if output and len(places) > 1:
        raise InputError(
            f"{len(places)} sources are given, and -o, which names one file; expected one source: use --output-dir, or "
            "a call for each"
        )
    if output:
        return [(source, output) for source, _ in places.values()]
    for folder in {folder: None for _, folder in places.values()}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder {folder} cannot be made ({error.strerror}); name another") from error
    taken: dict[Path, set[str]] = defaultdict(set)
    return [(source, folder / _free_name(source.stem, target, taken[folder])) for source, folder in places.values()]


def _recordings(source: Path, target: str, output_dir: Path | None) -> list[tuple[Path, Path]]:
    """A source, or all in it where it is a folder, each with the folder for its result."""
    if not source.is_dir():
        return [(source, output_dir or Path())]
    from timbrel.data.recordings import only_recordings

    place = output_dir or Path(f"{source.resolve().name}-{target}")
    inside = source.resolve() in place.resolve().parents  # earlier results are no sources
    paths = (path for path in source.rglob("*") if not (inside and place.resolve() in path.resolve().parents))
    names = only_recordings(source, paths)
    if not names:
        raise InputError(f"{source} holds no recording; expected a recording, or a folder with some")
    return [(source / name, (place / name).parent) for name in names]


def _free_name(stem: str, target: str, taken: set[str]) -> str:
    """SOURCE-TARGET.wav, with a number where that is taken, and no longer than a name may be."""
    for number in count(1):
        end = f"-{target}{f'-{number}' if number > 1 else ''}.wav"
        room = LONGEST_NAME - len(os.fsencode(end))
        if room < 1:
            raise InputError(
                f"the result would be called {stem[:20]}{end[:60]}..., over {LONGEST_NAME} bytes: name it with -o"
            )
        cut = stem if len(os.fsencode(stem)) <= room else os.fsencode(stem)[:room].decode(errors="ignore")
        name = cut + end
        if name.casefold() not in taken:
            taken.add(name.casefold())
            return name
    raise AssertionError


def _is_clip(to: str) -> bool:
    """Whether it can only be a recording: a bare word is an instrument's name first."""
    return bool(Path(to).suffix) or Path(to).name != to


def _check_source(path: Path, track: int | None = None, hint: str = "another one with --track") -> int:
    """Its number of channels. Says which track is read of several."""
    from timbrel.audio.io import open_audio

    with open_audio(path, track=track) as reader:
        if reader.tracks > 1 and track is None:
            warn(f"{path} has {reader.tracks} sound tracks; {reader.track} is read, {hint}")
        return reader.channels


def _check_output(path: Path, sources: Sequence[Path], to: str, overwrite: bool, **expected: object) -> None:
    from timbrel.audio.io import check_output

    check_output(path, overwrite=overwrite, inputs=[*sources, Path(to)], **expected)  # type: ignore[arg-type]
