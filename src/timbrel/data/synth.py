"""Scores -> aligned recordings: the same notes on several instruments, so that every excerpt has its true answer.

One group is one excerpt of a score, varied in tempo, transposition, register, dynamics and articulation, played by
the benchmark's four instruments, by two others, by an invented one (`virtual`), each from a library drawn at
random, and once more through a room, an equaliser, noise and a codec (`degrade`). All share one time base.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from timbrel.audio.level import target_gain
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.data import scores
from timbrel.data.render import LIBRARIES, find_library, render
from timbrel.data.sampler import in_reach, render_samples, sampled_instruments
from timbrel.data.scores import Note
from timbrel.data.splits import assign_split, is_held_out
from timbrel.data.store import (
    Entry,
    MelStore,
    StoreWriter,
    quantise,
    refuse_other_settings,
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
    """What `synthesise` makes. `composers` are folders of music21's corpus; `scores` is a folder of MIDI files (or
    anything music21 reads) used beside or instead of them; `composed_share` is the share of groups composed by
    chance (`scores.compose`). `samples` are folders of recorded notes (`sampler`), each a library of its own."""

    num_groups: int = 300
    duration_s: float = 40.0
    composers: tuple[str, ...] = ("bach", "ryansMammoth", "trecento", "nottingham-dataset")
    scores: str | None = None
    composed_share: float = 0.4
    libraries: tuple[str, ...] = ("fluidr3", "musescore", "timgm6mb", "csound", "opl3", "generaluser", "airfont")
    samples: tuple[str, ...] = ()
    num_others: int = 2
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
) -> int:
    """Renders `config.num_groups` groups into the mel store at `out`; groups that are there are not made again.

    Returns:
        How many recordings the store holds then.

    Raises:
        InputError: held-out composers or libraries, unknown names, an empty folder of scores.
        MissingDependencyError: a synthesiser or library that is not installed.
    """
    _check(config)
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
    if config.num_others > len(playable) - len(CORE):
        raise InputError(
            f"num_others is {config.num_others}; expected at most {len(playable) - len(CORE)} with these libraries"
        )
    for name in config.composers:
        if is_held_out(composer=name):
            raise InputError(f"composer {name!r} is held out for the benchmark; leave it out of `composers`")
        if name not in scores.CORPUS_LICENCES:
            raise InputError(
                f"composer {name!r} is not on the licence allow-list ({', '.join(scores.CORPUS_LICENCES)})"
            )
    pieces = _pieces(config)
    writer = StoreWriter(out, mel or MelConfig())
    _same_settings(config, writer.folder / "synth.json")
    todo = [k for k in range(config.num_groups) if not _complete(config, k, writer.done)]
    _writer.cache_clear()  # of an earlier call in this process
    make = partial(_make_group, config, writer.config, str(out), pieces)
    done = config.num_groups - len(todo)
    deque(answers(make, todo, workers=workers, progress=progress, unit="group", done=done), maxlen=0)
    entries = MelStore(out).entries
    write_manifest(writer.folder, sorted(entries, key=lambda entry: entry.id))  # whoever was ready first
    return len(entries)


def _check(config: SynthConfig) -> None:
    most = len(INSTRUMENTS) - len(CORE)
    for name, wrong, expected in (
        ("num_groups", config.num_groups < 1, "at least 1"),
        ("duration_s", not 1 <= config.duration_s <= 3600, "1 to 3600 seconds"),
        ("composed_share", not 0 <= config.composed_share <= 1, "a share from 0 to 1"),
        ("libraries", not config.libraries, "at least one"),
        ("num_others", not 0 <= config.num_others <= most, f"0 to {most}"),
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


def _recordings(config: SynthConfig) -> int:
    return len(CORE) + config.num_others + 1 + config.degraded_per_group


def _complete(config: SynthConfig, index: int, done: set[str]) -> bool:
    return f"g{index:05d}-{_recordings(config) - 1}" in done


def vary(notes: Sequence[Note], rng: random.Random, duration_s: float) -> list[Note]:
    """One performance of a score: an excerpt with its own tempo (which breathes), register, dynamics, articulation."""
    tempo = rng.uniform(0.65, 1.5)
    length = max(n.end_s for n in notes)
    start = rng.uniform(0, max(0.0, length - duration_s * tempo))
    notes = scores.excerpt(notes, start, duration_s * tempo)
    depth, rate, at = rng.choice([0, 0.03, 0.08]), rng.uniform(0.1, 0.4), rng.uniform(0, 6)
    lead = rng.uniform(0, 0.5)

    def when(s: float) -> float:
        return lead + (s + depth * np.sin(rate * s + at) / rate) / tempo

    low, high = rng.choices([(55, 88), (43, 84), (36, 96)], [6, 3, 1])[0]
    shift, loud, wide = rng.randint(-6, 6), rng.uniform(50, 105), rng.choice([0, 8, 18])
    held, loose = rng.choice([0.4, 0.75, 0.95, 1.0, 1.1]), rng.choice([0.0, 0.008, 0.02])
    swell, swell_s = rng.uniform(0, 20), rng.uniform(3, 10)
    played = []
    for n in notes:
        begin = max(0.0, when(n.start_s) + rng.gauss(0, loose))
        stop = begin + max(0.06, (when(n.end_s) - when(n.start_s)) * held)
        velocity = loud + swell * np.sin(begin / swell_s * 6.28) + rng.gauss(0, wide) + (n.velocity - 80) / 2
        pitch = min(max(n.pitch + shift, 12), 115)
        played.append(Note(float(begin), float(stop), pitch, int(min(max(velocity, 20), 127))))
    return [n for n in scores.fold(played, low, high) if n.start_s < duration_s - 0.1]


_writer = lru_cache(maxsize=1)(StoreWriter)  # opening one reads the whole manifest: once a worker, not once a group


def _instruments(config: SynthConfig) -> list[str]:
    """Those that some library plays, whatever the pitch."""
    return [i for i in INSTRUMENTS if any(i not in LIBRARIES[name].without for name in config.libraries)]


def _draw_library(config: SynthConfig, label: str, played: Sequence[Note], rng: random.Random) -> str:
    """First a family of libraries, then one of it: those that share samples count as one. Recorded notes are out where
    the music lies far from them: an octave away they sound like nothing on earth."""
    families: dict[str, list[str]] = {}
    for name in config.libraries:
        if label not in LIBRARIES[name].without:
            families.setdefault(LIBRARIES[name].family, []).append(name)
    for folder in config.samples:
        if label in sampled_instruments(folder) and in_reach(played, label, folder):
            families[library_name(folder)] = [folder]
    return rng.choice(families[rng.choice(sorted(families))])


def _make_group(config: SynthConfig, mel: MelConfig, out: str, pieces: list[_Piece], index: int) -> None:
    rng = random.Random(_seed(config.seed, index))
    for _ in range(20):
        if not pieces or rng.random() < config.composed_share:
            name, composer = f"composed:{_seed(config.seed, index)}", "composed"
            notes: Sequence[Note] = scores.compose(_seed(config.seed, index), config.duration_s * 1.6)
            licence = "composed by timbrel (MIT)"
        else:
            piece = rng.choice(pieces)
            name, composer, licence = piece.name, piece.composer, piece.licence
            try:
                notes = scores.load_score(piece.path)
            except InputError:
                continue
        played = vary(notes, rng, config.duration_s)
        if len(played) >= 10:
            break
    else:
        raise InputError(f"group {index}: no score of {len(pieces)} gave an excerpt of 10 notes")
    split = assign_split(name, config.validation_share, config.seed)
    writer = _writer(out, mel)
    base = Entry(
        id="",
        label="",
        split=split,
        frames=0,
        source=name,
        group=f"g{index:05d}",
        composer=composer,
        licence=licence,
    )
    others = rng.sample([i for i in _instruments(config) if i not in CORE], config.num_others)
    rate, waveforms = mel.sample_rate, list[np.ndarray]()
    made: list[Entry] = []
    for k, label in enumerate([*CORE, *others, "virtual"]):
        if label == "virtual":
            number = rng.randrange(NUM_VIRTUAL)
            entry = replace(base, id=f"{base.group}-{k}", label=f"virtual-{number}", library="virtual")
            waveform = render_virtual(played, number, sample_rate=rate, duration_s=config.duration_s)
        else:
            entry = replace(base, id=f"{base.group}-{k}", label=label, program=INSTRUMENTS[label].program)
            library = _draw_library(config, label, played, rng)
            cents = rng.uniform(5, 30) if INSTRUMENTS[label].vibrato and rng.random() < 0.3 else 0.0
            if library in config.samples:
                entry = replace(entry, library=library_name(library))
                waveform = render_samples(
                    played, label, library, sample_rate=rate, duration_s=config.duration_s, seed=rng.randrange(2**31)
                )
            else:
                entry = replace(entry, library=library)
                waveform = render(
                    played,
                    INSTRUMENTS[label].program,
                    library,
                    sample_rate=rate,
                    duration_s=config.duration_s,
                    vibrato_cents=cents,
                )
        waveforms.append(waveform)
        made.append(entry)
    for _ in range(config.degraded_per_group):
        which = rng.randrange(len(made))
        waveforms.append(degrade(waveforms[which], mel.sample_rate, rng.randrange(2**31)))
        made.append(replace(made[which], id=f"{base.group}-{len(made)}", degraded=True))
    for entry, waveform in zip(made, waveforms, strict=True):
        if entry.id in writer.done:
            continue
        gain = target_gain(waveform, mel.hop_length)
        levels = quantise(mel_spectrogram(torch.from_numpy(waveform * gain)[None, None], mel)[0, 0], mel.floor_db)
        gain_db = round(20 * float(np.log10(gain)), 2)
        writer.add(replace(entry, frames=len(levels), gain_db=gain_db), levels)


def degrade(waveform: np.ndarray, sample_rate: int, seed: int) -> np.ndarray:
    """What a recording does to music, each part by chance: room, equaliser, compression, noise, codec.

    Args:
        waveform: float32 [samples].

    Returns:
        float32 [samples], at the same times.
    """
    import soundfile
    from scipy.signal import oaconvolve

    rng = np.random.default_rng(seed)
    samples = len(waveform)
    x = waveform.astype(np.float64)
    if rng.random() < 0.7:
        t = np.arange(int(rng.uniform(0.15, 1.2) * sample_rate)) / sample_rate
        tail = rng.standard_normal(len(t)) * np.exp(-6.9 * t / t[-1])
        tail = np.convolve(tail, np.ones(n := rng.integers(1, 12)) / n, mode="same")
        tail[: int(rng.uniform(0.001, 0.02) * sample_rate)] = 0
        x = x + rng.uniform(0.1, 0.7) * np.sqrt((x**2).mean()) * _unit(oaconvolve(x, tail)[:samples])
    if rng.random() < 0.7:
        spectrum, hz = np.fft.rfft(x), np.fft.rfftfreq(samples, 1 / sample_rate)
        octaves = np.log2(np.maximum(hz, 20) / 20)
        knots = np.linspace(0, 10.2, 8)
        gain_db = np.interp(octaves, knots, rng.normal(0, 4, 8))
        gain_db -= 24 * np.maximum(octaves - np.log2(rng.uniform(5000, 22000) / 20), 0)
        x = np.fft.irfft(spectrum * 10 ** (gain_db / 20), samples)
    if rng.random() < 0.3:
        x = np.tanh(_unit(x) * rng.uniform(0.1, 0.8))
    if rng.random() < 0.7:
        white = np.fft.rfft(rng.standard_normal(samples))
        pink = white / np.maximum(np.arange(len(white)), 50) ** rng.uniform(0, 0.6)
        x = _unit(x) + 10 ** (rng.uniform(-65, -28) / 20) * _unit(np.fft.irfft(pink, samples))
    x = 0.1 * _unit(x)
    x = (x / max(1.0, np.abs(x).max())).astype(np.float32)
    if rng.random() < 0.4:
        file = io.BytesIO()
        soundfile.write(file, x, sample_rate, format="OGG", subtype="VORBIS", compression_level=rng.uniform(0.6, 1.0))
        file.seek(0)
        x = soundfile.read(file, dtype="float32")[0]
        x = np.pad(x[:samples], (0, max(0, samples - len(x))))
    return x


def _unit(x: np.ndarray) -> np.ndarray:
    return x / (np.sqrt((x**2).mean()) + 1e-9)
