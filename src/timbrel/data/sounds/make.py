"""Labelled sounds -> a mel store: as many of every class of the ontology as wanted, from all sources that are there."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from timbrel.audio.mel import MelConfig
from timbrel.data.sounds import kits, midi, signals, speech
from timbrel.data.sounds.maker import LONGEST_S, Maker
from timbrel.data.sounds.ontology import Ontology
from timbrel.data.splits import split_keys
from timbrel.data.store import Entry, MelStore, StoreWriter, levelled, refuse_other_settings, write_manifest
from timbrel.errors import AudioError, InputError, MissingDependencyError
from timbrel.files import write_text
from timbrel.parallel import answers

SOURCES = ("soundfonts", "samples", "drumkits", "sonic-pi", "speech", "signals")
SILENT_DB = -60.0  # below the loudest moment: the end of a sound
FAINTEST = 0.004  # peak of what is a sound, of full scale


@dataclass(frozen=True)
class SoundsConfig:
    """What `make_sounds` makes.

    Attributes:
        num_sounds: Sounds of each class.
        sources: Some of soundfonts, samples, drumkits, sonic-pi, speech, signals; what is not installed is left out.
        libraries: Soundfonts that play, of those installed.
        samples: Folders of recorded notes, INSTRUMENT/A4.wav.
        drumkits: Hydrogen's drum kits (Debian's hydrogen-data and hydrogen-drumkits).
        sonic_pi: Sonic Pi's samples (Debian's sonic-pi-samples).
        validation_share: The share of each class's sounds that training does not see; 0 of a class of one recording.
        seed: Another seed makes other data.
    """

    num_sounds: int = 60
    sources: tuple[str, ...] = SOURCES
    libraries: tuple[str, ...] = ("fluidr3", "musescore", "timgm6mb", "csound", "opl3", "generaluser", "airfont")
    samples: tuple[str, ...] = ()
    drumkits: str = kits.KITS
    sonic_pi: str = kits.FILES_FOLDER
    validation_share: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class SoundsReport:
    """What became of a set; as text, a summary.

    Attributes:
        counts: class -> how many sounds of it the set has.
        missing: sources that were left out, and why; classes that no source has.
    """

    out: Path
    counts: dict[str, int]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        total = f"{self.out}: {sum(self.counts.values())} sounds of {len(self.counts)} classes"
        return "\n".join([total, *(f"left out: {reason}" for reason in self.missing)])


def make_sounds(
    config: SoundsConfig,
    out: str | Path,
    *,
    ontology: Ontology | None = None,
    mel: MelConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> SoundsReport:
    """Makes `config.num_sounds` sounds of every class into the mel store at `out`; those that are there stay.

    An entry's label is its class, its source the recording that it is made of. All sounds made of one recording are of
    one split. Where the sources or their packages change, the data do: `out` keeps the list of what made it.

    Raises:
        InputError: a value out of range, an unknown source, nothing to make sounds with, or an `out` that was made
            with other settings.
    """
    ontology = ontology or Ontology.load()
    makers, missing = find_makers(config, ontology)
    writer = StoreWriter(out, mel or MelConfig())
    _same_settings(config, makers, writer.folder / "sounds.json")
    numbers = range(config.num_sounds)  # a run that is stopped leaves as many sounds of each class
    jobs = [_job(config, label, number, some) for number in numbers for label, some in makers.items()]
    todo = [job for job in jobs if job.id not in writer.done]
    _writer.cache_clear()  # of an earlier call in this process
    make = functools.partial(_make, config.seed, writer.config, str(out))
    made = answers(make, todo, workers=workers, progress=progress, unit="sound", done=len(jobs) - len(todo))
    deque(made, maxlen=0)
    entries = MelStore(out).entries
    write_manifest(writer.folder, sorted(entries, key=lambda entry: entry.id))  # whoever was ready first
    return SoundsReport(writer.folder, dict(sorted(Counter(e.label for e in entries).items())), tuple(missing))


def find_makers(config: SoundsConfig, ontology: Ontology) -> tuple[dict[str, list[Maker]], list[str]]:
    """Class -> its makers, in the ontology's order; and what is missing. Errors as `make_sounds`."""
    _check(config)
    found: dict[str, list[Maker]] = defaultdict(list)
    missing = []
    for name, makers in _sources(config):
        try:
            for maker in makers():
                found[maker.label].append(maker)
        except MissingDependencyError as error:
            missing.append(f"{name} ({error})")
    leaves = ontology.leaves()
    if without := [label for label in leaves if label not in found]:
        missing.append(f"{len(without)} classes that no source has: {', '.join(without)}")
    by_class = {label: found[label] for label in leaves if label in found}
    if not by_class:
        raise InputError(f"sources is {config.sources}, and none has a sound: {'; '.join(missing[:3])}")
    return by_class, missing


def _sources(config: SoundsConfig) -> Iterable[tuple[str, Callable[[], Iterable[Maker]]]]:
    """The chosen sources, with what lists their makers."""
    if "soundfonts" in config.sources:
        for library in config.libraries:
            yield library, functools.partial(midi.soundfont_makers, library)
    others: dict[str, Callable[[], Iterable[Maker]]] = {
        "samples": lambda: midi.sample_makers(config.samples),
        "drumkits": lambda: kits.kit_makers(config.drumkits),
        "sonic-pi": lambda: kits.file_makers(config.sonic_pi),
        "speech": speech.speech_makers,
        "signals": signals.signal_makers,
    }
    yield from ((name, makers) for name, makers in others.items() if name in config.sources)


def _check(config: SoundsConfig) -> None:
    for name, wrong, expected in (
        ("num_sounds", config.num_sounds < 1, "at least 1"),
        ("sources", not config.sources or set(config.sources) - set(SOURCES), f"some of {', '.join(SOURCES)}"),
        ("validation_share", not 0 <= config.validation_share < 1, "a share from 0 to below 1"),
    ):
        if wrong:
            raise InputError(f"{name} is {getattr(config, name)}; expected {expected}")


def _same_settings(config: SoundsConfig, makers: dict[str, list[Maker]], path: Path) -> None:
    """Keeps what a set was made with, and refuses to go on with anything else but another number of sounds."""
    made_by = {label: sorted({maker.library for maker in some}) for label, some in makers.items()}
    settings = {key: asdict(config)[key] for key in ("validation_share", "seed")} | {"classes": made_by}
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        refuse_other_settings(path.parent, before, settings, but=" and packages (only num_sounds may change)")
    elif MelStore(path.parent).entries:
        raise InputError(f"{path.parent} holds other data; use another folder")
    else:
        write_text(path, json.dumps(settings, indent=1) + "\n")


@dataclass(frozen=True)
class _Job:
    id: str
    split: str
    makers: tuple[Maker, ...]  # of which one is drawn


def _job(config: SoundsConfig, label: str, number: int, makers: Sequence[Maker]) -> _Job:
    """Sound number `number` of a class. Every so many of them validate, and are made of recordings of their own."""
    share = config.validation_share
    split = "validation" if int((number + 1) * share + 1e-9) > int(number * share + 1e-9) else "train"
    recordings = {m.recording for m in makers if m.recording is not None}
    sides = split_keys(recordings, share, config.seed)
    usable = tuple(m for m in makers if m.recording is None or sides[m.recording] == split)
    if not usable:  # the class has one recording
        split, usable = "train", tuple(makers)
    return _Job(f"{label.replace(' ', '-')}-{number:04d}", split, usable)


_writer = functools.lru_cache(maxsize=1)(StoreWriter)  # opening one reads the whole manifest: once a worker


def _make(seed: int, mel: MelConfig, out: str, job: _Job) -> None:
    """Writes one sound into the store at `out`."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}:{job.id}".encode()).digest()[:8]))
    for _ in range(10):  # a soundfont may have a drum or a note in name only, a kit a broken file
        maker = _draw(job.makers, rng)
        try:
            waveform = maker.make(rng, mel.sample_rate)
        except AudioError:
            continue
        if np.abs(waveform).max(initial=0) > FAINTEST:
            break
    else:
        raise InputError(
            f"ten sounds of {maker.label} by {maker.library} and others were silent or broken; leave its source out"
        )
    levels, gain_db = levelled(_ended(waveform, mel.sample_rate), mel)
    entry = Entry(
        id=job.id,
        label=maker.label,
        split=job.split,
        frames=len(levels),
        source=maker.recording or job.id,
        library=maker.library,
        licence=maker.licence,
        gain_db=gain_db,
    )
    _writer(out, mel).add(entry, levels)


def _draw(makers: Sequence[Maker], rng: np.random.Generator) -> Maker:
    """A library, then one of its makers: a kit with ten snares counts as one with one."""
    libraries = sorted({maker.library for maker in makers})
    library = libraries[int(rng.integers(len(libraries)))]
    some = [maker for maker in makers if maker.library == library]
    return some[int(rng.integers(len(some)))]


def _ended(waveform: np.ndarray, rate: int) -> np.ndarray:
    """A waveform [samples] of at most `LONGEST_S`, from just before its first sound to its last: float32."""
    waveform = waveform[: round(LONGEST_S * rate)].astype(np.float32)
    loud = np.flatnonzero(np.abs(waveform) > np.abs(waveform).max() * 10 ** (SILENT_DB / 20))
    return waveform[max(0, loud[0] - rate // 10) : loud[-1] + rate // 20]
