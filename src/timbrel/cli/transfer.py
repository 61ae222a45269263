"""`timbrel transfer`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from timbrel.errors import InputError, TimbrelError

MODEL_S = "(default: the model's)"


def transfer(
    sources: Annotated[tuple[Path, ...], Positional, arg(metavar="SOURCE...", help_behavior_hint="(required)")],
    *,
    to: Annotated[str, arg(metavar="INSTRUMENT|CLIP")],
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE", help_behavior_hint="")] = None,
    output_dir: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: this one)")] = None,
    strength: float = 1.0,
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint=MODEL_S)] = None,
    guidance: Annotated[float | None, arg(metavar="X", help_behavior_hint=MODEL_S)] = None,
    transpose: Annotated[str, arg(metavar="auto|N")] = "0",
    seed: int = 0,
    picture: Annotated[Path | None, arg(metavar="FILE.png", help_behavior_hint="")] = None,
    sample_rate: Annotated[int | None, arg(metavar="HZ", help_behavior_hint="(default: the model's, 44100)")] = None,
    overwrite: bool = False,
    model: Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="(default: default)")] = None,
    method: Literal["default", "cross"] = "default",
    start: Annotated[int | None, arg(metavar="K", help_behavior_hint="(cross; default: 15)")] = None,
    forward_steps: Annotated[int | None, arg(metavar="F", help_behavior_hint="(cross; default: matched)")] = None,
    equalise: Annotated[bool, arg(help_behavior_hint="(cross)")] = True,
    models: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(cross)")] = None,
) -> int:
    """Put recordings on another instrument: the same melody and rhythm, another sound.

    For example:

        timbrel transfer song.mp3 --to violin
        timbrel transfer song.mp3 --to harp -o harp.flac --strength 0.7 --picture harp.png
        timbrel transfer *.wav --to my-cello.wav --output-dir on-cello

    The first writes song-violin.wav into the current folder. Several sources share one loading of the
    model; one that fails does not stop the others. An input is never overwritten.

    Args:
        sources: Recordings of any length: wav, flac, ogg, mp3, m4a, aac, webm, the sound of a video...
        to: The name of an instrument (`timbrel models` lists them), or a recording of the sound you want,
            some seconds of that instrument alone.
        output: Where the result goes, for a single source; .wav, .flac, .ogg or .mp3 says the format.
        output_dir: The folder where results go, named SOURCE-TARGET.wav; made if it is missing.
        strength: From 0 (the source as it is) to 1 (all of the new sound).
        steps: Sampler steps. The shipped model is best with 1; 2 give another take for each seed, and lose some notes.
        guidance: How strongly the style is followed: 1 plainly, more exaggerates.
        transpose: Semitones to move the music by, or "auto": by the octaves that bring it into the instrument's range.
        seed: The same seed gives the same result; with --steps 2 or more another seed is another take.
        picture: Also draw source, style clip and result as mel spectrograms, for a single source.
        sample_rate: Sample rate of the result.
        overwrite: Replace results that exist.
        model: A model that ships (see `timbrel models`) or a model folder.
        method: Cross-diffusion instead of the main model: noise the source, and let a model of the wanted instrument
            alone (one of `timbrel train single`) take the noise away. Slower; see docs/cross-diffusion.md.
        start: How many of its denoising steps (--steps, 50) are skipped: the fewer, the more is made anew.
        forward_steps: How far the source is noised, of the model's 500 steps; by default as --start expects.
        equalise: Leave the source's average spectrum, and more of its sound, instead of giving it the instrument's.
        models: A folder with models of instruments, beside those that ship.
    """
    _check_range("--strength", strength, 0, 1)
    _check_range("--steps", steps, 1, 1000)
    _check_range("--guidance", guidance, 0, 20)
    _check_range("--seed", seed, 0, 2**63 - 1)
    semitones_given = _semitones(transpose)
    jobs = _plan(sources, to, output, output_dir, single=picture is not None)
    if picture:
        _check_output(picture, sources, to, overwrite, suffixes=[".png"])
    if _is_clip(to):
        _check_source(Path(to))

    def check(source: Path, output: Path) -> None:
        channels = _check_source(source)
        _check_output(output, sources, to, overwrite, sample_rate=sample_rate, channels=channels)

    ready = [job for job in jobs if _succeeds(check, *job)]
    done = 0
    if ready:
        unequalised = None if equalise else False
        of_cross = {"start": start, "forward_steps": forward_steps, "equalise": unequalised, "models": models}
        pipe = _load(method, to, steps, of_cross, {"guidance": guidance, "model": model})
        if to not in pipe.instruments and not Path(to).is_file():
            known = ", ".join(sorted(pipe.instruments))
            raise InputError(
                f"--to is {to!r}; expected an instrument ({known}) or a recording; "
                "`timbrel instruments add` makes your own"
            )

        def run(source: Path, output: Path) -> None:
            begin = time.monotonic()
            semitones = pipe.find_transposition(source, to) if semitones_given == "auto" else semitones_given
            with _progress(source.name) as progress:
                pipe.transfer_file(
                    source,
                    output,
                    to=to,
                    strength=strength,
                    steps=steps,
                    guidance=guidance,
                    transpose=semitones,
                    seed=seed,
                    sample_rate=sample_rate,
                    overwrite=overwrite,
                    progress=progress,
                    picture=picture,
                )
            moved = f"{semitones:+d} semitones, " if semitones else ""
            print(f"{source} -> {output} ({moved}{time.monotonic() - begin:.1f} s)", flush=True)

        done = sum(_succeeds(run, *job) for job in ready)
    if len(jobs) > 1:
        print(f"{done} of {len(jobs)} done")
    return 0 if done == len(jobs) else TimbrelError.exit_code


def _load(method: str, to: str, steps: int | None, of_cross: dict[str, Any], of_default: dict[str, Any]) -> Any:
    """The pipeline of a method, which has to be the one whose options are given."""
    import timbrel
    from timbrel.pipelines.cross import check_method

    check_method(method, of_cross, of_default)
    if method == "default":
        return timbrel.load(of_default["model"])
    return timbrel.load_cross(to, **{k: v for k, v in (of_cross | {"steps": steps}).items() if v is not None})


def _plan(
    sources: Sequence[Path], to: str, output: Path | None, output_dir: Path | None, *, single: bool
) -> list[tuple[Path, Path]]:
    """Each source with its output."""
    if not sources:
        raise InputError("there is no SOURCE; expected a recording: timbrel transfer song.mp3 --to violin")
    if output and output_dir:
        raise InputError(f"both -o {output} and --output-dir {output_dir} are given; expected one of them")
    if len(sources) > 1 and (output or single):
        raise InputError(
            f"{len(sources)} sources are given, and -o or --picture, which name one file; expected one "
            "source: use --output-dir, or a call for each"
        )
    if output:
        return [(sources[0], output)]
    folder = output_dir or Path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output-dir {folder} cannot be made ({error.strerror}); name another") from error
    target = Path(to).stem if _is_clip(to) else to
    jobs = [(source, folder / f"{source.stem}-{target}.wav") for source in sources]
    named: dict[Path, Path] = {}
    for source, path in jobs:
        if (other := named.setdefault(path, source)) is not source:
            raise InputError(f"{other} and {source} would both become {path}; expected different names: make two calls")
    return jobs


def _is_clip(to: str) -> bool:
    """Whether it can only be a recording: a bare word is an instrument's name first."""
    return bool(Path(to).suffix) or Path(to).name != to


def _check_source(path: Path) -> int:
    """Its number of channels."""
    from timbrel.audio.io import open_audio

    with open_audio(path) as reader:
        return reader.channels


def _check_output(path: Path, sources: Sequence[Path], to: str, overwrite: bool, **expected: object) -> None:
    from timbrel.audio.io import check_output

    check_output(path, overwrite=overwrite, inputs=[*sources, Path(to)], **expected)  # type: ignore[arg-type]


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise InputError(f"{name} is {value}; expected {low} to {high}")


def _semitones(value: str) -> int | Literal["auto"]:
    """What --transpose says."""
    if value == "auto":
        return "auto"
    try:
        semitones = int(value)
    except ValueError:
        raise InputError(f"--transpose is {value!r}; expected 'auto' or a number of semitones, -36 to 36") from None
    _check_range("--transpose", semitones, -36, 36)
    return semitones


def _succeeds(work: Callable[[Path, Path], None], source: Path, output: Path) -> bool:
    """Does one file's part of the work; False, and a message, where it fails."""
    try:
        work(source, output)
    except (TimbrelError, OSError) as error:
        print(f"timbrel: {error}", file=sys.stderr)
        return False
    return True


@contextmanager
def _progress(name: str) -> Iterator[Callable[[float, float | None], None]]:
    """A bar on stderr with the time left, where that is a terminal; what it gives takes seconds of sound."""
    from tqdm import tqdm

    layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} s, {remaining} left"
    with tqdm(desc=name, disable=None, leave=False, bar_format=layout) as bar:

        def update(done_s: float, total_s: float | None) -> None:
            bar.total = total_s and round(total_s)
            bar.update(round(done_s) - bar.n)

        yield update
