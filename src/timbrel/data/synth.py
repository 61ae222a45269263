"""Scores -> aligned recordings: the same notes on several instruments, so that every excerpt has its true answer.

One group is one excerpt of a score, varied in tempo, transposition, register, dynamics and articulation, played by
the benchmark's four instruments, by two others and by an invented one (`virtual`) or a third, each from a library
drawn at random, and once more through a room, an equaliser, noise and a codec (`degrade`). Or it is a real recording
whose notes are known (`performances`), and those instruments beside it. All share one time base and one pitch curve
(`intonation`).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from timbrel.audio.mel import MelConfig
from timbrel.data import scores
from timbrel.data.degrade import degrade
from timbrel.data.intonation import CURVE_HZ, WIDEST_CENTS, bend, pitch_curve
from timbrel.data.performances import Passage, passages
from timbrel.data.render import LIBRARIES, find_library, render
from timbrel.data.sampler import in_reach, render_samples, sampled_instruments
from timbrel.data.scores import Note
from timbrel.data.splits import assign_split, is_held_out
from timbrel.data.store import (
    Entry,
    MelStore,
    StoreWriter,
    levelled,
    refuse_other_settings,
    write_levels,
    write_manifest,
)
from timbrel.data.virtual import render_virtual
from timbrel.errors import InputError
from timbrel.files import write_text
from timbrel.instruments import INSTRUMENTS
from timbrel.parallel import answers

CORE = ("piano", "guitar", "harp", "violin")
NUM_VIRTUAL = 120


@dataclass(frozen=True)
class SynthConfig:
    """What `synthesise` makes.

    Attributes:
        num_groups: Excerpts of scores, each played on many instruments.
        duration_s: Length of a recording.
        composers: Folders of music21's corpus.
        scores: A folder of MIDI files, or of anything that music21 reads, beside or instead of the corpus.
        composed_share: The share of groups that are composed by chance.
        libraries: Soundfonts that play.
        samples: Folders of recorded notes, INSTRUMENT/A4.wav; each is a library of its own.
        recorded_share: How often an instrument is played from recorded notes, where a folder of samples has it.
        performances: A folder of real recordings with their notes, INSTRUMENT/PLAYER_PIECE.wav and .csv.
        performance_takes: Groups that each passage of a performance makes, beside num_groups.
        num_others: Instruments beside piano, guitar, harp and violin.
        virtual_share: The share of groups with an invented instrument; the rest have another real one.
        degraded_per_group: Recordings that are passed through a room, an equaliser, noise and a codec.
        validation_share: The share of scores that training does not see.
        seed: Another seed makes other data.
    """

    num_groups: int = 300
    duration_s: float = 40.0
    composers: tuple[str, ...] = ("bach", "ryansMammoth", "trecento", "nottingham-dataset")
    scores: str | None = None
    composed_share: float = 0.4
    libraries: tuple[str, ...] = ("fluidr3", "musescore", "timgm6mb", "csound", "opl3", "generaluser", "airfont")
    samples: tuple[str, ...] = ()
    recorded_share: float = 0.65
    performances: str | None = None
    performance_takes: int = 4
    num_others: int = 2
    virtual_share: float = 0.5
    degraded_per_group: int = 1
    validation_share: float = 0.06
    seed: int = 0


def synthesise(
    config: SynthConfig,
    out: str | Path,
    *,
    mel: MelConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
    cluster: str | None = None,
) -> int:
    """Renders `config.num_groups` groups into the mel store at `out`; groups that are there are not made again.

    Args:
        config: what to make.
        out: a folder, new or of an earlier run with the same settings.
        mel: of the mels; `MelConfig()` by default.
        workers: processes, one group each; as many as there are processors by default.
        progress: a bar on stderr, if that is a terminal.
        cluster: of Ray, in place of processes here. All of its nodes see `out` and the folders of `config` under the
            same names, and have the same libraries.

    Returns:
        How many recordings the store holds then.

    Raises:
        InputError: held-out composers or libraries, unknown names, an empty folder of scores.
        MissingDependencyError: a synthesiser or library that is not installed.
    """
    _check(config)
    _check_sources(config)
    if cluster is not None:
        out, config = Path(out).absolute(), _absolute(config)
    pieces = _pieces(config)
    real = passages(config.performances, config.duration_s) if config.performances else []
    writer = StoreWriter(out, mel or MelConfig())
    _same_settings(config, writer.folder / "synth.json")
    jobs: list[_Job] = [(f"g{k:05d}", k, None) for k in range(config.num_groups)]
    jobs += [(f"p{k:05d}", k, passage) for k, passage in enumerate(real * config.performance_takes)]
    todo = [job for job in jobs if _last_id(config, job) not in writer.done]
    make, done = partial(_make, config, writer.config, writer.folder, pieces), len(jobs) - len(todo)
    for made in answers(make, todo, workers=workers, progress=progress, unit="group", done=done, cluster=cluster):
        writer.append(made)
    entries = MelStore(out).entries
    write_manifest(writer.folder, sorted(entries, key=lambda entry: entry.id))  # whoever was ready first
    return len(entries)


_Job = tuple[str, int, Passage | None]
"""A group's name, its number, and the real recording that it is made of, if any."""


def _last_id(config: SynthConfig, job: _Job) -> str:
    """Of what a group writes last."""
    group, _, passage = job
    real = 0 if passage is None else 1
    return f"{group}-{len(CORE) + config.num_others + 1 + real + config.degraded_per_group - 1}"


def _absolute(config: SynthConfig) -> SynthConfig:
    """With folders that mean the same in any working directory."""
    samples = tuple(str(Path(folder).absolute()) for folder in config.samples)
    performances = config.performances and str(Path(config.performances).absolute())
    return replace(config, samples=samples, performances=performances)


def _check_sources(config: SynthConfig) -> None:
    for name in config.libraries:
        if is_held_out(library=name):
            raise InputError(f"library {name!r} is held out for the benchmark; leave it out of `libraries`")
        find_library(name)
    _check_samples(config.samples)
    playable = _instruments(config)
    if missing := [name for name in CORE if name not in playable]:
        raise InputError(
            f"libraries is {config.libraries}, of which none gives a {' or a '.join(missing)}; add another"
        )
    most = len(playable) - len(CORE) - (config.virtual_share < 1)
    if config.num_others > most:
        raise InputError(f"num_others is {config.num_others}; expected at most {most} with these libraries")
    for name in config.composers:
        if is_held_out(composer=name):
            raise InputError(f"composer {name!r} is held out for the benchmark; leave it out of `composers`")
        if name not in scores.CORPUS_LICENCES:
            raise InputError(
                f"composer {name!r} is not on the licence allow-list ({', '.join(scores.CORPUS_LICENCES)})"
            )


def _check(config: SynthConfig) -> None:
    for name, wrong, expected in (
        ("num_groups", config.num_groups < 1, "at least 1"),
        ("duration_s", not 1 <= config.duration_s <= 3600, "1 to 3600 seconds"),
        ("composed_share", not 0 <= config.composed_share <= 1, "a share from 0 to 1"),
        ("recorded_share", not 0 <= config.recorded_share <= 1, "a share from 0 to 1"),
        ("virtual_share", not 0 <= config.virtual_share <= 1, "a share from 0 to 1"),
        ("libraries", not config.libraries, "at least one"),
        ("performance_takes", config.performance_takes < 1, "at least 1"),
        ("num_others", config.num_others < 0, "0 or more"),
        ("degraded_per_group", config.degraded_per_group < 0, "0 or more"),
    ):
        if wrong:
            raise InputError(f"{name} is {getattr(config, name)}; expected {expected}")


def _same_settings(config: SynthConfig, path: Path) -> None:
    """Keeps what a store was made with, and refuses to go on with anything else but another number of groups."""
    named = replace(
        config,
        samples=tuple(sorted(library_name(folder) for folder in config.samples)),
        scores=config.scores and Path(config.scores).resolve().name,
        performances=config.performances and Path(config.performances).resolve().name,
    )
    settings = json.loads(json.dumps(asdict(named)))
    del settings["num_groups"]
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if MelStore(path.parent).entries:
            raise InputError(
                f"{path.parent} holds data, and not the settings that it was made with ({error}); use another folder"
            ) from error
        write_text(path, json.dumps(settings, indent=2) + "\n")
        return
    refuse_other_settings(path.parent, before, settings, but=" (only num_groups may change)")


def _check_samples(folders: Sequence[str]) -> None:
    """A folder of samples is a library, called as the folder: a name says one library."""
    names = [library_name(folder) for folder in folders]
    for folder, name in zip(folders, names, strict=True):
        if any(is_held_out(library=part) for part in Path(folder).resolve().parts):
            raise InputError(f"{folder} is named like a library held out for the benchmark; leave it out of `samples`")
        if name in LIBRARIES or name in ("", "virtual") or names.count(name) > 1:
            raise InputError(
                f"{folder} would be a library called {name!r}, and there is another; rename the folder, whose name is "
                "the library's"
            )
        if not set(found := sampled_instruments(folder)) & set(INSTRUMENTS):
            raise InputError(f"{folder} holds {', '.join(found)}; expected some of {', '.join(INSTRUMENTS)}")


def library_name(folder: str) -> str:
    """What a folder of samples is called as a library."""
    return Path(folder).resolve().name


@dataclass(frozen=True)
class _Piece:
    """A score: how `load_score` finds it, and its name, the same wherever a user's own folder lies."""

    path: str
    name: str
    composer: str
    licence: str


def _pieces(config: SynthConfig) -> list[_Piece]:
    names = scores.corpus_scores(config.composers) if config.composers else []
    by = [name.split("/", 1)[0] for name in names]
    pieces = [_Piece(name, name, who, scores.CORPUS_LICENCES[who]) for name, who in zip(names, by, strict=True)]
    if config.scores is not None:
        root = Path(config.scores).resolve()
        suffixes = {".mid", ".midi", ".mxl", ".xml", ".musicxml", ".krn", ".abc"}
        found = sorted(p for p in root.rglob("*") if p.suffix.lower() in suffixes)
        if not found:
            raise InputError(f"{config.scores} holds no scores; expected files ending in {', '.join(sorted(suffixes))}")
        for path in found:
            folders = [root.name, *path.relative_to(root).parts[:-1]]
            for folder in folders:
                if is_held_out(composer=folder):
                    raise InputError(f"{path} is by {folder!r}, held out for the benchmark; leave it out of `scores`")
            pieces.append(_Piece(str(path), path.relative_to(root).as_posix(), folders[-1], "the user's own"))
    return pieces


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6])


REGISTERS = {(55, 88): 6, (43, 84): 3, (36, 96): 4, (28, 72): 3, (21, 108): 3, (67, 105): 3, (31, 55): 3, (84, 105): 3}
"""Lowest and highest pitch of a performance -> how often: the middle, left hand, bass, all of a piano, the treble."""


def vary(notes: Sequence[Note], rng: random.Random, duration_s: float) -> list[Note]:
    """One performance of a score: an excerpt with its own tempo (which breathes), register, dynamics, articulation; by
    chance its upper voice alone, or with the pedal down."""
    tempo = rng.uniform(0.65, 1.5)
    length = max(n.end_s for n in notes)
    start = rng.uniform(0, max(0.0, length - duration_s * tempo))
    notes = scores.excerpt(notes, start, duration_s * tempo)
    if rng.random() < 0.25:
        notes = upper_voice(notes)
    depth, rate, at = rng.choice([0, 0.03, 0.08]), rng.uniform(0.1, 0.4), rng.uniform(0, 6)
    lead = rng.uniform(0, 0.5)

    def when(s: float) -> float:
        return lead + (s + depth * np.sin(rate * s + at) / rate) / tempo

    low, high = rng.choices(list(REGISTERS), list(REGISTERS.values()))[0]
    shift = _octaves(notes, low, high, rng) + rng.randint(-6, 6)
    loud, wide = rng.uniform(50, 105), rng.choice([0, 8, 18])
    length_share, loose = rng.choice([0.4, 0.75, 0.95, 1.0, 1.1]), rng.choice([0.0, 0.008, 0.02])
    swell, swell_s = rng.uniform(0, 20), rng.uniform(3, 10)
    played = []
    for n in notes:
        begin = max(0.0, when(n.start_s) + rng.gauss(0, loose))
        stop = begin + max(0.06, (when(n.end_s) - when(n.start_s)) * length_share)
        velocity = loud + swell * np.sin(begin / swell_s * 6.28) + rng.gauss(0, wide) + (n.velocity - 80) / 2
        pitch = min(max(n.pitch + shift, 12), 115)
        played.append(Note(float(begin), float(stop), pitch, int(min(max(velocity, 20), 127))))
    played = [n for n in scores.fold(played, low, high) if n.start_s < duration_s - 0.1]
    return _with_pedal(played, rng.uniform(0.8, 2.5)) if rng.random() < 0.12 else played


def _octaves(notes: Sequence[Note], low: int, high: int, rng: random.Random) -> int:
    """Semitones, in whole octaves, that bring the middle of the notes near the middle of a register."""
    middle = sum(n.pitch for n in notes) / max(len(notes), 1)
    return 12 * round((rng.gauss((low + high) / 2, (high - low) / 6) - middle) / 12)


def upper_voice(notes: Sequence[Note]) -> list[Note]:
    """The highest note of each moment, ended by the next: a melody."""
    voice: list[Note] = []
    for note in sorted(notes, key=lambda n: (n.start_s, -n.pitch)):
        if voice and note.start_s < voice[-1].start_s + 0.03:
            continue
        if voice and note.start_s < voice[-1].end_s - 0.03:
            if note.pitch < voice[-1].pitch:
                continue
            voice[-1] = replace(voice[-1], end_s=note.start_s)
        voice.append(note)
    return voice


def _with_pedal(notes: Sequence[Note], every_s: float) -> list[Note]:
    """Notes that ring on until the pedal changes."""
    return [replace(n, end_s=max(n.end_s, every_s * (int(n.start_s / every_s) + 1))) for n in notes]


def _instruments(config: SynthConfig) -> list[str]:
    """Those that some library plays, whatever the pitch."""
    return [i for i in INSTRUMENTS if any(_plays(name, _relatives(i)) for name in config.libraries)]


def _plays(library: str, instruments: Iterable[str]) -> bool:
    return not set(instruments) & set(LIBRARIES[library].without)


def _relatives(label: str | None) -> list[str]:
    """An instrument and all that play its deeper notes."""
    return [] if label is None else [label, *_relatives(INSTRUMENTS[label].deeper)]


def _voices(label: str, notes: Sequence[Note]) -> dict[str, list[Note]]:
    """Instrument -> the notes that it plays where `label` is wanted."""
    low, deeper = INSTRUMENTS[label].lowest, INSTRUMENTS[label].deeper
    if deeper is None or all(n.pitch >= low for n in notes):
        return {label: list(notes)}
    upper = [n for n in notes if n.pitch >= low]
    lower = _voices(deeper, [n for n in notes if n.pitch < low])
    return ({label: upper} if upper else {}) | lower


def _draw_library(config: SynthConfig, label: str, notes: Sequence[Note], rng: random.Random) -> str:
    """Recorded notes or a soundfont; then a family of libraries, then one of it: those that share samples count as one.
    Recorded notes are out where the music lies far from them: an octave away they sound like nothing on earth."""
    voices = _voices(label, notes)
    recorded = [
        folder
        for folder in sorted(config.samples, key=library_name)
        if all(v in sampled_instruments(folder) and in_reach(part, v, folder) for v, part in voices.items())
    ]
    families: dict[str, list[str]] = {}
    for name in config.libraries:
        if _plays(name, voices):
            families.setdefault(LIBRARIES[name].family, []).append(name)
    if recorded and rng.random() < config.recorded_share:
        return rng.choice(recorded)
    return rng.choice(families[rng.choice(sorted(families))])


@dataclass(frozen=True)
class _Take:
    """What all recordings of a group play: notes, the seconds to render of them, and how sharp that is then read
    (`intonation.bend`)."""

    notes: Sequence[Note]
    length_s: float
    cents: np.ndarray


_Sound = tuple[Entry, np.ndarray]


def _make(config: SynthConfig, mel: MelConfig, out: Path, pieces: list[_Piece], job: _Job) -> list[Entry]:
    """Writes the mels of one group into the store at `out`; their entries, which the parent alone names there."""
    group, index, passage = job
    sounds: list[_Sound] = []
    if passage is None:
        rng = random.Random(_seed(config.seed, index))
        piece, take = _scored(config, pieces, index, rng)
    else:
        rng = random.Random(_seed(config.seed, "performance", index))
        piece = _Piece(str(passage.path), passage.name, "performance", passage.licence)
        recording, take = _performed(config, passage, mel.sample_rate, rng)
        sounds = [(_entry(config, group, piece, passage.label, passage.library), recording)]
    for label, library, waveform in _played(config, take, mel.sample_rate, rng):
        sounds.append((_entry(config, group, piece, label, library), bend(waveform, take.cents, mel.sample_rate)))
    for _ in range(config.degraded_per_group):
        entry, waveform = rng.choice(sounds)
        sounds.append((replace(entry, degraded=True), degrade(waveform, mel.sample_rate, rng.randrange(2**31))))
    return [_written(out, mel, f"{group}-{number}", *sound) for number, sound in enumerate(sounds)]


def _entry(config: SynthConfig, group: str, piece: _Piece, label: str, library: str) -> Entry:
    return Entry(
        id="",
        label=label,
        split=assign_split(piece.name, config.validation_share, config.seed),
        frames=0,
        source=piece.name,
        group=group,
        program=INSTRUMENTS[label].program if label in INSTRUMENTS else None,
        library=library,
        composer=piece.composer,
        licence=piece.licence,
    )


def _scored(config: SynthConfig, pieces: list[_Piece], index: int, rng: random.Random) -> tuple[_Piece, _Take]:
    """An excerpt of a score or of a piece composed by chance, as one performance has it."""
    length_s = config.duration_s * 2 ** (WIDEST_CENTS / 1200)  # what is bent sharp is read faster
    seed = _seed(config.seed, index)
    for _ in range(20):
        if not pieces or rng.random() < config.composed_share:
            piece = _Piece("", f"composed:{seed}", "composed", "composed by timbrel (MIT)")
            score: Sequence[Note] = scores.compose(seed, length_s * 1.6)
        else:
            piece = rng.choice(pieces)
            try:
                score = scores.load_score(piece.path)
            except InputError:
                continue
        notes = vary(score, rng, length_s)
        if len(notes) >= 10:
            return piece, _Take(notes, length_s, pitch_curve(notes, config.duration_s, rng))
    raise InputError(f"group {index}: no score of {len(pieces)} gave an excerpt of 10 notes")


def _performed(config: SynthConfig, passage: Passage, sample_rate: int, rng: random.Random) -> tuple[np.ndarray, _Take]:
    """A real recording, bent, and its notes, bent alike and by its tuning: slower beforehand, they then keep its
    time."""
    length_s = config.duration_s * 2 ** (WIDEST_CENTS / 1200)
    recording, notes, tuning = passage.read(sample_rate, length_s, rng)
    cents = np.full(round(config.duration_s * CURVE_HZ), rng.choice([0.0, rng.uniform(-90, 90)]))
    slower = 2 ** (tuning / 1200)
    notes = [replace(n, start_s=n.start_s * slower, end_s=n.end_s * slower) for n in notes]
    return bend(recording, cents, sample_rate), _Take(notes, length_s * slower, cents + tuning)


def _played(
    config: SynthConfig, take: _Take, sample_rate: int, rng: random.Random
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Instrument, library and waveform of each recording but the degraded ones, not bent yet."""
    invented = rng.random() < config.virtual_share
    others = rng.sample([i for i in _instruments(config) if i not in CORE], config.num_others + (not invented))
    for label in [*CORE, *others]:
        library = _draw_library(config, label, take.notes, rng)
        name = library_name(library) if library in config.samples else library
        yield label, name, _play(config, take, label, library, sample_rate, rng)
    if invented:
        number = rng.randrange(NUM_VIRTUAL)
        waveform = render_virtual(take.notes, number, sample_rate=sample_rate, duration_s=take.length_s)
        yield f"virtual-{number}", "virtual", waveform


def _play(
    config: SynthConfig, take: _Take, label: str, library: str, sample_rate: int, rng: random.Random
) -> np.ndarray:
    """A take on an instrument (and on its deeper relatives) of a library: float32 [samples]."""
    total = np.zeros(round(take.length_s * sample_rate), np.float32)
    for voice, notes in _voices(label, take.notes).items():
        if library in config.samples:
            seed = rng.randrange(2**31)
            total += render_samples(notes, voice, library, sample_rate=sample_rate, duration_s=take.length_s, seed=seed)
        else:
            row = INSTRUMENTS[voice]
            cents = rng.uniform(5, 30) if row.vibrato and rng.random() < 0.3 else 0.0
            total += render(
                notes, row.program, library, sample_rate=sample_rate, duration_s=take.length_s, vibrato_cents=cents
            )
    return total


def _written(out: Path, mel: MelConfig, name: str, entry: Entry, waveform: np.ndarray) -> Entry:
    levels, gain_db = levelled(waveform, mel)
    write_levels(out, name, levels)
    return replace(entry, id=name, frames=len(levels), gain_db=gain_db)
