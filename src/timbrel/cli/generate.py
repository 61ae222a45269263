"""`timbrel generate`, `timbrel inpaint` and `timbrel extend`."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from timbrel.cli.shared import FLAGS, GenerateFlags, plain_warnings, progress_bar
from timbrel.errors import InputError
from timbrel.pipelines.settings import MOST_TAKES, check_whole

if TYPE_CHECKING:
    from torch import Tensor

    from timbrel.audio.io import Waveform
    from timbrel.audio.mel import MelConfig
    from timbrel.systems.generate import GenerateSystem

DEFAULTS = GenerateFlags()
Model = Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="")]
Text = Annotated[str | None, Positional, arg(metavar="[TEXT]", help_behavior_hint="")]
Song = Annotated[Path, Positional, arg(metavar="SONG")]
Output = Annotated[Path | None, arg(aliases=["-o"], metavar="FILE", help_behavior_hint="")]
Picture = Annotated[Path | None, arg(metavar="FILE.png", help_behavior_hint="")]
SHOWN_S, LEAD_S = 30.0, 5.0  # of a changed recording in a picture, and of that before the change


def generate(
    text: Text = None,
    *,
    class_: Annotated[str | None, arg(name="class", metavar="NAME", help_behavior_hint="")] = None,
    seconds: Annotated[float | None, arg(metavar="S", help_behavior_hint="(default: 10, or SONG's length)")] = None,
    num_takes: Annotated[int, arg(aliases=["-n"], metavar="N")] = 1,
    candidates: Annotated[
        int | None, arg(metavar="N", help_behavior_hint="(default: at most 8; fewer from 12 s on)")
    ] = None,
    loop: bool = False,
    init: Annotated[Path | None, arg(metavar="SONG", help_behavior_hint="")] = None,
    strength: Annotated[float, arg(metavar="X")] = 0.6,
    settings: Annotated[GenerateFlags, FLAGS] = DEFAULTS,
    output: Annotated[Path, arg(aliases=["-o"], metavar="DIR|FILE")] = Path(),
    picture: Picture = None,
    overwrite: bool = False,
    model: Model = None,
    listener: Model = None,
) -> None:
    """Make sound from a text, or from the name of a class.

    For example:

        timbrel generate "a harp melody" --seconds 8 -n 4 --seed 1 -o takes
        timbrel generate --class violin --loop
        timbrel generate "rain on a roof" --init song.mp3 --strength 0.7

    The first writes harp-melody-1.wav to harp-melody-4.wav: the number is the seed that makes the take again.

    Args:
        text: What is to be heard, in English.
        class_: The name of a class of sounds, in place of a text; one that is not known is answered by those near it.
        seconds: How long it is, up to 600.
        num_takes: How many takes.
        candidates: Each take is begun until a beginning fits the text, at most so many times; 1 is the quickest.
        loop: The end goes on at the start, without a step.
        init: A recording to start from: what is made keeps something of it.
        strength: How little of it, from 0 to 1.
        settings: How it is made.
        output: The folder for the takes, made if it is missing; or, for one take, a file: its ending says the format.
        picture: Also draw the takes as mel spectrograms.
        overwrite: Replace takes that exist.
        model: The model, of `timbrel train generate`.
        listener: What chooses among candidates, of `timbrel train listener`.
    """
    from timbrel.audio.io import check_output
    from timbrel.pipelines.generate import GeneratePipeline

    begin = time.monotonic()
    check_whole("num_takes", num_takes, 1, MOST_TAKES)
    if (text is None) == (class_ is None):
        raise InputError('expected a TEXT or --class NAME, one of them: timbrel generate "a harp melody"')
    pipe = GeneratePipeline.load(model, listener=listener)
    prompt = text or "" if class_ is None else _wording(class_, pipe.model)
    paths = _take_paths(prompt, settings.seed, num_takes, output)
    for path in paths if paths[0].parent.exists() else ():
        check_output(path, overwrite=overwrite, inputs=[init] if init else [])
    if picture:
        check_output(picture, overwrite=overwrite, inputs=[init] if init else [], suffixes=[".png"])
    panels = []
    with progress_bar(prompt) as progress, plain_warnings():
        takes = pipe.takes(
            prompt,
            duration_s=seconds,
            num_takes=num_takes,
            num_candidates=candidates,
            loop=loop,
            init=init,
            strength=strength,
            settings=settings,
            progress=progress,
        )
        for path, take in zip(paths, takes, strict=True):
            _make_folder(path.parent)
            take.save(path, overwrite=overwrite)
            if picture:
                panels.append((path.name, _mel(take.waveform, take.sample_rate, pipe.model.mel)))
    if picture:
        from timbrel.audio.plot import draw_mels

        draw_mels(picture, panels, pipe.model.mel, overwrite=overwrite)
    print(f"{', '.join(map(str, paths))} ({time.monotonic() - begin:.1f} s)")


def inpaint(
    song: Song,
    text: Text = None,
    *,
    start: Annotated[tuple[float, ...], UseAppendAction, arg(name="from", metavar="S")],
    end: Annotated[tuple[float, ...], UseAppendAction, arg(name="to", metavar="S")],
    low_hz: Annotated[float, arg(metavar="HZ")] = 0.0,
    high_hz: Annotated[float | None, arg(metavar="HZ", help_behavior_hint="(default: all)")] = None,
    settings: Annotated[GenerateFlags, FLAGS] = DEFAULTS,
    output: Output = None,
    picture: Picture = None,
    overwrite: bool = False,
    model: Model = None,
) -> None:
    """Make parts of a recording anew; the rest stays as it is: in .wav and .flac to the sample, up to 24 bits.

    For example:

        timbrel inpaint song.wav --from 3.0 --to 4.5
        timbrel inpaint song.wav --from 3 --to 4 --from 10.5 --to 11 --low-hz 200 --high-hz 2000 "a dog barking"

    The first writes song-inpainted.wav.

    Args:
        song: The recording.
        text: What is to be heard there; without it, whatever fits.
        start: Where a part begins, in seconds; once more for another part.
        end: Where it ends.
        low_hz: Make only what lies above this frequency.
        high_hz: Make only what lies below this frequency.
        settings: How it is made.
        output: Where the result goes; .wav, .flac, .ogg or .mp3 says the format.
        picture: Also draw the recording and the result as mel spectrograms: 30 s, from 5 s before the change.
        overwrite: Replace a result that exists.
        model: The model, of `timbrel train generate`.
    """
    if not start or len(start) != len(end):
        raise InputError(
            f"there are {len(start)} --from and {len(end)} --to; expected at least one, and an end for each beginning: "
            "--from 3 --to 4.5"
        )
    spans = list(zip(start, end, strict=True))
    bands = {"low_hz": low_hz, "high_hz": high_hz}
    _change(song, "inpaint", spans, text, settings, output, (picture, min(start)), overwrite, model, **bands)


def extend(
    song: Song,
    text: Text = None,
    *,
    seconds: Annotated[float, arg(metavar="S")],
    before: bool = False,
    settings: Annotated[GenerateFlags, FLAGS] = DEFAULTS,
    output: Output = None,
    picture: Picture = None,
    overwrite: bool = False,
    model: Model = None,
) -> None:
    """Go on from the end of a recording, or lead to its start.

    For example:

        timbrel extend song.wav --seconds 10
        timbrel extend song.wav "thunder" --seconds 4 --before

    The first writes song-extended.wav.

    Args:
        song: The recording.
        text: What is to be heard; without it, whatever fits.
        seconds: How much is added, up to 600.
        before: Add it before the start.
        settings: How it is made.
        output: Where the result goes; .wav, .flac, .ogg or .mp3 says the format.
        picture: Also draw the recording and the result as mel spectrograms: 30 s, from 5 s before the change.
        overwrite: Replace a result that exists.
        model: The model, of `timbrel train generate`.
    """
    shown_s = 0.0 if before else -seconds
    _change(song, "extend", seconds, text, settings, output, (picture, shown_s), overwrite, model, before=before)


def _change(
    song: Path,
    verb: str,
    where: object,
    text: str | None,
    settings: GenerateFlags,
    output: Path | None,
    drawn: tuple[Path | None, float],
    overwrite: bool,
    model: str | None,
    **options: object,
) -> None:
    """Calls a method of the pipeline on a recording, and writes the result.

    Args:
        drawn: the picture, and where in the result the change begins, in seconds; from its end, if negative.
    """
    from timbrel.audio.io import check_output, open_audio, read_audio
    from timbrel.audio.plot import draw_mels
    from timbrel.pipelines.generate import GeneratePipeline

    begin = time.monotonic()
    with open_audio(song) as reader:
        rate, channels = reader.sample_rate, reader.channels
    path = output or Path(f"{song.stem}-{verb}ed.wav")
    picture, shown_s = drawn
    check_output(path, overwrite=overwrite, inputs=[song], sample_rate=rate, channels=channels)
    if picture:
        check_output(picture, overwrite=overwrite, inputs=[song, path], suffixes=[".png"])
    pipe = GeneratePipeline.load(model)
    with progress_bar(song.name) as progress, plain_warnings():
        made = getattr(pipe, verb)(song, where, text or "", settings=settings, progress=progress, **options)
        made.save(path, overwrite=overwrite)
    if picture:
        start = round(max(0.0, shown_s % made.duration_s - LEAD_S) * rate)
        shown = slice(start, start + round(SHOWN_S * rate))
        waveforms = {song.name: read_audio(song)[0], path.name: made.waveform}
        panels = [(name, _mel(waveform[:, shown], rate, pipe.model.mel)) for name, waveform in waveforms.items()]
        draw_mels(picture, panels, pipe.model.mel, overwrite=overwrite)
    print(f"{song} -> {path} ({time.monotonic() - begin:.1f} s)")


def _wording(name: str, model: GenerateSystem) -> str:
    """That of a class that the model was trained on; of the shipped classes where it does not say on which."""
    from timbrel.data.sounds.ontology import Ontology, SoundClass

    classes = model.info.get("classes", {})
    own = [SoundClass(key, key, aliases=tuple(aliases)) for key, aliases in classes.items()]
    return (Ontology(own) if own else Ontology.load()).find(name).wordings[0]


def _take_paths(prompt: str, seed: int, num_takes: int, output: Path) -> list[Path]:
    """WORDS-SEED.wav for each take in the folder `output`; or that file."""
    from timbrel.audio.io import OUTPUT_SUFFIXES

    if output.suffix.lower() in OUTPUT_SUFFIXES and not output.is_dir():
        if num_takes > 1:
            raise InputError(f"{output} is one file and num_takes is {num_takes}; expected a folder: -o takes")
        return [output]
    words = [word for word in re.findall(r"[a-z0-9]+", prompt.lower()) if word not in ("a", "an", "the")]
    name = "-".join(words)[:40].rstrip("-") or "take"
    return [output / f"{name}-{seed + k}.wav" for k in range(num_takes)]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be made ({error.strerror}); name another") from error


def _mel(waveform: Waveform, rate: int, mel: MelConfig) -> Tensor:
    """[channels, samples] at any rate -> [n_mels, frames] in dB."""
    import torch

    from timbrel.audio.io import resample
    from timbrel.audio.mel import mel_spectrogram

    mono = resample(waveform, rate, mel.sample_rate).mean(axis=0)
    return mel_spectrogram(torch.from_numpy(mono)[None, None], mel)[0, 0]
