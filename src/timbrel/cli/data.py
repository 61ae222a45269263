"""`timbrel data`: training data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from timbrel.errors import InputError, TimbrelError


def _synth_config() -> Any:
    from timbrel.data.synth import SynthConfig

    return SynthConfig


def _mel_config() -> Any:
    from timbrel.audio.mel import MelConfig

    return MelConfig


# Any: the classes' modules import torch, and only this verb's own help needs them.
Synth = Annotated[Any, arg(name="", constructor_factory=_synth_config)]
Mel = Annotated[Any, arg(name="mel", constructor_factory=_mel_config)]


Recordings = Annotated[Path, Positional, arg(metavar="RECORDINGS")]
Workers = Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a processor)")]

Ray = Annotated[str | None, arg(metavar="auto|ADDRESS", help_behavior_hint="")]


def synth(
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    config: Synth,
    mel: Mel,
    *,
    workers: Workers = None,
    ray: Ray = None,
) -> None:
    """Render scores on several instruments each, so that every excerpt has its true answer.

    For example:

        timbrel data synth data/synth --num-groups 2000
        timbrel data synth data/mine --scores my-midi-files --composed-share 0
        timbrel data synth data/real --samples samples/piano samples/strings --performances my-recordings

    Needs the extra [data], TiMidity++ and soundfonts. The same seed makes the same data; a run that was
    stopped goes on where it was.

    Args:
        out: The folder for the mels and their manifest.
        config: What to make.
        mel: The mel spectrograms; a model works with those it was trained on.
        workers: Processes at work.
        ray: Work on a Ray cluster, all of whose nodes see these folders under the same names, and have the libraries.
    """
    _check_pool(workers, ray)
    from timbrel.data.synth import synthesise

    print(f"{out}: {synthesise(config, out, mel=mel, workers=workers, cluster=ray)} recordings")


def _check_pool(workers: int | None, ray: str | None) -> None:
    if ray and workers:
        raise InputError("--workers and --ray are given; expected one of them: a cluster has its own processes")


def _sounds_config() -> Any:
    from timbrel.data.sounds.make import SoundsConfig

    return SoundsConfig


Sounds = Annotated[Any, arg(name="", constructor_factory=_sounds_config)]


def sounds(
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    config: Sounds,
    mel: Mel,
    *,
    workers: Workers = None,
) -> None:
    """Make labelled sounds of many classes, from instruments, drums, speech and effects to noises.

    For example:

        timbrel data sounds data/sounds --num-sounds 100
        timbrel data sounds data/sounds --samples samples/philharmonia
        timbrel data sounds data/signals --sources signals speech

    A source whose packages are missing is left out, with a note. The same seed and packages make the same data; a
    run that was stopped goes on where it was. docs/sounds.md has the sources and their licences.

    Args:
        out: The folder for the mels and their manifest.
        config: What to make.
        mel: The mel spectrograms; a model works with those it was trained on.
        workers: Processes at work.
    """
    from timbrel.data.sounds.make import make_sounds

    print(make_sounds(config, out, mel=mel, workers=workers))


def audioset(
    clips: Annotated[Path, Positional, arg(metavar="CLIPS")],
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    mel: Mel,
    *,
    segments: Annotated[Path, arg(metavar="SEGMENTS.csv")],
    labels: Annotated[Path, arg(metavar="LABELS.csv")],
    ontology: Annotated[Path, arg(metavar="ONTOLOGY.json")],
    per_class: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: all)")] = None,
    validation_share: float = 0.1,
    seed: int = 0,
    workers: Workers = None,
) -> None:
    """Turn AudioSet's clips into labelled sounds.

    For example:

        timbrel data audioset clips data/audioset --segments balanced_train_segments.csv
            --labels class_labels_indices.csv --ontology ontology.json

    A clip is called YTID.wav, YTID_START.wav or YTID_START_END.wav, and may be in any folder below CLIPS. Segments
    without a clip are counted, and listed in OUT/missing.txt. A run that was stopped goes on where it was.

    Args:
        clips: The folder of clips.
        out: The folder for the mels and their manifest.
        mel: The mel spectrograms; a model works with those it was trained on.
        segments: AudioSet's list of segments, such as balanced_train_segments.csv.
        labels: AudioSet's table of labels, class_labels_indices.csv.
        ontology: AudioSet's ontology.json.
        per_class: At most so many clips of a class.
        validation_share: The share of videos that training does not see.
        seed: Another seed chooses other videos for validation.
        workers: Processes at work.
    """
    from timbrel.data.sounds.audioset import prepare_audioset

    report = prepare_audioset(
        clips,
        out,
        segments=segments,
        labels=labels,
        ontology=ontology,
        per_class=per_class,
        config=mel,
        validation_share=validation_share,
        seed=seed,
        workers=workers,
    )
    print(report)


def download(
    listing: Annotated[Path, Positional, arg(metavar="LIST.csv")],
    out: Annotated[Path, Positional, arg(metavar="[OUT]")] = Path("downloads"),
    *,
    retries: int = 3,
    rate_limit_kb_s: Annotated[float | None, arg(metavar="KB", help_behavior_hint="(default: no limit)")] = None,
    pause_s: float = 0.0,
    timeout_s: float = 30.0,
    limit_s: float = 3600.0,
    allow_private: bool = False,
) -> int:
    """Fetch the recordings of a list as OUT/LABEL/TITLE.mp3, ready for `timbrel data prepare`.

    For example, with a file whose first line is label,title,url:

        timbrel data download recordings.csv
        timbrel data prepare downloads data/mine

    Needs the extra [data]. What is there is not fetched again; a run that was stopped goes on where it was.
    What fails is listed in OUT/failures.csv, with the reason, and the exit code is then 2.

    Args:
        listing: CSV with the columns label (the instrument), title and url.
        out: The folder for the recordings, one folder a label.
        retries: Further attempts after a connection or a server failed.
        rate_limit_kb_s: At most so many kilobytes a second.
        pause_s: Seconds to wait between two recordings.
        timeout_s: Seconds without a byte after which a connection has failed.
        limit_s: Seconds that one recording may take.
        allow_private: Also fetch from addresses of this machine and its own network.
    """
    from timbrel.data import download as module

    report = module.download(
        listing,
        out,
        retries=retries,
        rate_limit_kb_s=rate_limit_kb_s,
        pause_s=pause_s,
        timeout_s=timeout_s,
        limit_s=limit_s,
        allow_private=allow_private,
    )
    print(report, file=sys.stderr if report.failures else sys.stdout)
    return TimbrelError.exit_code if report.failures else 0


def prepare(
    recordings: Recordings,
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    mel: Mel,
    *,
    silence_db: float = -60.0,
    min_seconds: float = 3.0,
    validation_share: float = 0.1,
    seed: int = 0,
    workers: Workers = None,
    ray: Ray = None,
) -> None:
    """Turn your own recordings, one folder an instrument, into training data.

    For example, with recordings/cello/*.mp3 and recordings/flute/*.wav:

        timbrel data prepare recordings data/mine
        timbrel train transfer default --data data/mine --out runs/mine --init-from default

    A file that cannot be read is reported and skipped. A run that was stopped goes on where it was.

    Args:
        recordings: The folder; each folder in it is named after an instrument and holds recordings of it.
        out: The folder for the mels and their manifest.
        mel: The mel spectrograms; a model works with those it was trained on.
        silence_db: What is silent, in dB of full scale once a recording is at -20 dB RMS.
        min_seconds: A recording with less sound is skipped.
        validation_share: The share of each instrument's recordings that training does not see.
        seed: Another seed chooses other recordings for validation.
        workers: Processes at work.
        ray: Work on a Ray cluster, all of whose nodes see the two folders under the same names.
    """
    _check_pool(workers, ray)
    from timbrel.data import prepare as module

    report = module.prepare(
        recordings,
        out,
        config=mel,
        workers=workers,
        silence_db=silence_db,
        min_seconds=min_seconds,
        validation_share=validation_share,
        seed=seed,
        cluster=ray,
    )
    print(report)


def paint(
    paintings: Annotated[Path, Positional, arg(metavar="PAINTINGS")],
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    *,
    works: Annotated[int, arg(metavar="N")] = 48,
    procedural: Annotated[int, arg(metavar="N")] = 400,
    workers: Workers = None,
    music: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
    encoder: Literal["musicnn", "timbrel-features", "ast", "clap", "beats"] = "musicnn",
    weights: Annotated[str, arg(metavar="FOLDER|FILE|OWNER/REPO", help_behavior_hint="(default: the encoder's)")] = "",
    size: Annotated[int, arg(metavar="N")] = 128,
) -> None:
    """Make a set of music and pictures in the 18 labels of report 004, to train what paints.

    For example:

        timbrel data paint paintings data/paint
        timbrel data paint my-pictures data/mine --music my-music
        timbrel data paint my-pictures data/mine --music my-music --encoder ast --size 512

    The first makes the music, and needs the extra [data], TiMidity++, soundfonts and musicnn. The others read folders
    that are named as the labels: my-pictures/Heavy metal/*.jpg and my-music/Heavy metal/*.mp3. The third is for a
    painter over Stable Diffusion.

    Args:
        paintings: A folder with STYLE/*.jpg for each of six styles: art-nouveau, baroque, impressionism,
            post-impressionism, romanticism and symbolism; with --music a folder with LABEL/*.jpg.
        out: The folder for the set.
        works: Pieces of music for each label; 30 s of each are heard.
        procedural: Pictures for each label that has no paintings.
        workers: Processes at work.
        music: A folder with LABEL/* recordings, instead of music that is made.
        encoder: What hears the recordings of --music.
        weights: The encoder's; of beats a checkpoint file.
        size: Pixels of the sides of the pictures of --music.
    """
    from timbrel.data.paint.make import make_set
    from timbrel.metrics.heard import load_musicnn

    if music is None:
        make_set(out, paintings, load_musicnn(), works=works, procedural=procedural, workers=workers)
    else:
        from timbrel.data.paint.folders import read_set
        from timbrel.systems.ears import load_ear

        ear = load_ear(encoder, weights)
        read_set(out, paintings, music, ear.hear, ear.sample_rate, ear=(ear.kind, ear.source), size=size)
    print(f"the set is in {out}")


def pictures(
    recordings: Recordings,
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    *,
    max_minutes: float = 30.0,
    validation_share: float = 0.1,
    seed: int = 0,
    workers: Workers = None,
) -> None:
    """Turn your own recordings, one folder an instrument, into grey pictures of 3 s, as report 001 made them.

    For example, with recordings/cello/*.mp3 and recordings/flute/*.wav:

        timbrel data pictures recordings data/pictures

    A file that cannot be read is reported and skipped. A run that was stopped goes on where it was.

    Args:
        recordings: The folder; each folder in it is named after an instrument and holds recordings of it.
        out: The folder for the pictures and their manifest.
        max_minutes: At most so much sound is taken of a recording.
        validation_share: The share of each instrument's recordings that training does not see.
        seed: Another seed chooses other recordings for validation.
        workers: Processes at work.
    """
    from timbrel.data.report_001.prepare import prepare_pictures

    report = prepare_pictures(
        recordings, out, max_minutes=max_minutes, workers=workers, validation_share=validation_share, seed=seed
    )
    print(report)


def pairs(
    folder: Annotated[Path, Positional, arg(metavar="FOLDER")],
    *,
    output: Annotated[
        Path | None, arg(aliases=["-o"], metavar="FILE.csv", help_behavior_hint="(default: FOLDER/pairs.csv)")
    ] = None,
    num_pairs: int = 15000,
    seed: int = 42,
    overwrite: bool = False,
) -> None:
    """Draw pairs of pictures of two instruments, as report 001 trains on them.

    For example:

        timbrel data pictures recordings data/pictures
        timbrel data pairs data/pictures -o pairs.csv

    A line of the file is label1, idx1, label2, idx2, split, without a head; idx counts a label's pictures by name,
    from 0. Training and validation get pairs in proportion to their pictures, and any two labels as many as others.

    Args:
        folder: The pictures, from `timbrel data pictures`.
        output: The file to write.
        num_pairs: How many pairs, of all splits together.
        seed: The same pictures and seed give the same pairs.
        overwrite: Replace a file that exists.
    """
    from timbrel.data.report_001.pairs import make_pairs

    output = output or folder / "pairs.csv"
    counts = make_pairs(folder, output, num_pairs=num_pairs, seed=seed, overwrite=overwrite)
    print(f"{output}: " + ", ".join(f"{count} {split}" for split, count in counts.items()) + " pairs")


def sound(
    pictures: Annotated[tuple[Path, ...], Positional, arg(metavar="PICTURE.png...", help_behavior_hint="(required)")],
    *,
    output_dir: Annotated[
        Path | None, arg(aliases=["-o"], metavar="DIR", help_behavior_hint="(default: this one)")
    ] = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Make sound of pictures: report 001's, and those that `timbrel data pictures` makes.

    For example:

        timbrel data sound data/pictures/piano/one_chunk0.png -o heard

    It writes heard/one_chunk0.wav. Each picture becomes 3 s at 22,050 Hz, as loud as the recording where the picture
    says how loud that was.

    Args:
        pictures: Grey PNGs of 128 mel bands.
        output_dir: The folder where results go, named PICTURE.wav; made if it is missing.
        seed: The same seed gives the same sound.
        overwrite: Replace results that exist.
    """
    from tqdm import tqdm

    from timbrel.audio.io import check_output, write_audio
    from timbrel.data.report_001.pictures import CONFIG, invert_picture, read_mel

    if not pictures:
        raise InputError("there is no PICTURE.png; expected a picture: timbrel data sound piano_chunk0.png")
    folder = output_dir or Path()
    folder.mkdir(parents=True, exist_ok=True)
    jobs: dict[Path, Path] = {}
    for picture in pictures:
        path = check_output(folder / f"{picture.stem}.wav", overwrite=overwrite, inputs=pictures)
        if (other := jobs.setdefault(path, picture)) is not picture:
            raise InputError(f"{other} and {picture} would both become {path}; expected other names: make two calls")
        read_mel(picture)
    for path, picture in tqdm(jobs.items(), disable=None):
        write_audio(path, invert_picture(picture, seed=seed), CONFIG.sample_rate, overwrite=overwrite)
    print(f"{folder}: {len(jobs)} recordings")
