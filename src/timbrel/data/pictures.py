"""Report 001's dataset (its section 3.3): recordings -> grey pictures of their mels, and a picture -> sound.

    OUT/LABEL/STEM_chunkN.png    the Nth 3 s of a recording's sound: 130 frames wide, 128 bands high, low ones on top
    OUT/manifest.jsonl           one picture a line (see `Picture`), with its split
    OUT/recordings.jsonl         what is done of each recording: a stopped run goes on from it

The pixels are the report's: 255 is the picture's own maximum, 0 is 80 dB below it or less, so that level is lost and
digital silence is white. The maximum itself stands in the PNG's metadata, as the text `peak_db`: with it a picture
has its level again (`read_mel`).
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import Waveform, open_audio
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.data.prepare import (
    FAINTEST_DB,
    GAP_S,
    PrepareReport,
    Recording,
    find_recordings,
    label_of,
    mono_blocks,
    nothing_usable,
    run_jobs,
    warn_alone,
)
from timbrel.data.splits import assign_split, split_keys
from timbrel.data.store import write_bytes, write_text
from timbrel.errors import AudioError, InputError

# The floor is librosa's: a power of 1e-10 of an STFT that is not scaled by its window's sum over 2, here 512.
CONFIG = MelConfig(22050, 2048, 512, 128, norm="slaney", floor_db=-100 - 20 * math.log10(512))
"""The report's mel: what librosa's `melspectrogram` does when nothing but n_mels = 128 is said."""
RANGE_DB = 80.0
SIDE = 128  # a picture is cropped to this width and height when it is read
CHUNK_S = 3
CHUNK = CHUNK_S * CONFIG.sample_rate
TRIM_DB = 20.0
USUAL_PEAK_DB = -30.0  # of a picture that does not say it: about that of a piano at -23 dB RMS
MANIFEST, RECORDINGS = "manifest.jsonl", "recordings.jsonl"


@dataclass(frozen=True)
class Picture:
    """One line of the manifest: `file` is its path below the folder, `start_s` its place in the recording `source`."""

    file: str
    label: str
    split: str
    source: str
    start_s: float


# one picture ----------------------------------------------------------------------------------------


def write_picture(path: str | os.PathLike[str], mel: Tensor) -> None:
    """Writes a mel [n_mels, frames], in dB, as a grey PNG (listing 6 of the report), whole or not at all."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    peak_db = float(mel.max())
    levels = ((mel - peak_db + RANGE_DB) * (255 / RANGE_DB)).clamp(0, 255) + 0.5
    info, png = PngInfo(), io.BytesIO()
    info.add_text("peak_db", f"{peak_db:.3f}")
    Image.fromarray(levels.byte().numpy()).save(png, "PNG", pnginfo=info)
    write_bytes(Path(path), png.getvalue())


def read_picture(path: str | os.PathLike[str]) -> Tensor:
    """Reads a picture as listing 8 of the report does: its first 128 frames, scaled to [0, 1].

    Returns:
        Tensor [1, 128, 128], float32; row 0 is the lowest band.

    Raises:
        InputError: it is no PNG that can be read, or not 128 high and at least 128 wide.
    """
    levels, _ = _read(path)
    if levels.shape[1] < SIDE:
        raise InputError(f"{path} is {levels.shape[1]} wide; expected at least {SIDE}, as the report's pictures are")
    return torch.from_numpy(levels[:, :SIDE] / np.float32(255))[None]


def read_mel(path: str | os.PathLike[str]) -> Tensor:
    """Reads a picture with its level: mel [n_mels, frames] in dB, of `CONFIG`, at least 80 dB below its maximum.

    The maximum of a picture that does not say it is taken for -30 dB.

    Raises:
        InputError: as `read_picture`, but for the width.
    """
    levels, peak_db = _read(path)
    return torch.from_numpy(levels / np.float32(255) - 1) * RANGE_DB + peak_db


def invert_picture(path: str | os.PathLike[str], *, seed: int = 0) -> Waveform:
    """Makes sound of a picture: waveform [1, samples] at 22,050 Hz, 3 s of the report's 130 frames.

    Args:
        seed: of the random first phases (`invert_mel`).

    Raises:
        InputError: as `read_mel`.
    """
    mel = read_mel(path)
    length = CHUNK if CONFIG.num_frames(CHUNK) == mel.shape[1] else None
    return invert_mel(mel[None, None], CONFIG, length=length, seed=seed)[0].numpy()


def _read(path: str | os.PathLike[str]) -> tuple[np.ndarray, float]:
    """Pixels [128, width], uint8, and the peak in dB."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as image:
            levels = np.asarray(image.convert("L"))
            peak_db = float(image.info.get("peak_db", USUAL_PEAK_DB))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); expected a grey PNG, as `timbrel data prepare --format png` makes them"
        ) from error
    if levels.shape[0] != SIDE:
        raise InputError(f"{path} is {levels.shape[0]} high; expected {SIDE}, a row for each mel band")
    if not CONFIG.floor_db - 1 <= peak_db <= 60:
        raise InputError(f"{path} says that its peak_db is {peak_db}; expected {CONFIG.floor_db:.0f} to 60 dB")
    return levels, peak_db


# a folder of them -----------------------------------------------------------------------------------


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, list[Picture]]:
    """Each label's pictures, sorted by name: the place of one is the number that `ImageFolder` would give it.

    Raises:
        InputError: `folder` is not what `prepare_pictures` makes, or lacks one of its pictures.
    """
    by_label: dict[str, list[Picture]] = defaultdict(list)
    try:
        for line in (Path(folder) / MANIFEST).read_text(encoding="utf-8").splitlines():
            picture = Picture(**json.loads(line))
            by_label[picture.label].append(picture)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{folder} is no folder of pictures ({error}); make one with "
            "`timbrel data prepare RECORDINGS FOLDER --format png`"
        ) from error
    for picture in chain.from_iterable(by_label.values()):
        if not (Path(folder) / picture.file).exists():
            raise InputError(
                f"{folder} lacks {picture.file}, which its manifest names; run the same `timbrel data prepare` again"
            )
    return {label: sorted(by_label[label], key=lambda picture: picture.file) for label in sorted(by_label)}


def prepare_pictures(
    recordings: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    max_minutes: float = 30.0,
    workers: int | None = None,
    validation_share: float = 0.1,
    seed: int = 0,
    progress: bool = True,
) -> PrepareReport:
    """Makes report 001's pictures of the recordings in `recordings/LABEL/`, folders in it included.

    Each is mixed to mono and resampled to 22,050 Hz, trimmed at both ends to what is within 20 dB of its loudest
    frame (librosa's `effects.trim`, done here block by block) and cut into chunks of 3 s, the last one padded. No
    label gets more than the label with the least sound has: of the others, the longest recordings end early.

    Splits are by recording, as `prepare` makes them; a label with a single one is split in time, and the chunks
    between are left out. Every recording is read twice, once for where its sound is. A run that was stopped goes on
    where it was; what has changed is done again, and the pictures of what has left the folder go.

    Args:
        max_minutes: of sound taken of a recording.
        workers: processes, one recording each; as many as there are processors by default.
        validation_share: of each label's recordings, at least one; of its time, where it has only one.
        seed: another seed is another choice of validation recordings.
        progress: bars on stderr, if that is a terminal.

    Raises:
        InputError: no usable recording; `out` holds something else; a value out of range.
    """
    root, out = Path(recordings), Path(out)
    workers = os.cpu_count() or 1 if workers is None else workers
    assign_split("", validation_share)
    if workers < 1:
        raise InputError(f"workers is {workers}; expected at least 1")
    if not 0 < max_minutes < math.inf:
        raise InputError(f"max_minutes is {max_minutes}; expected above 0")
    for name in ("config.json", MANIFEST):
        if (out / name).exists() and not (out / RECORDINGS).exists():
            raise InputError(f"{out} holds a {name} of something other than pictures; use another folder")
    sources, failures = find_recordings(root)
    if not sources:
        raise nothing_usable(root, failures)
    out.mkdir(parents=True, exist_ok=True)

    before = _read_states(out)
    write_text(out / RECORDINGS, _lines(before.values()))
    states = {}
    stems = _stems(sources)
    new = []
    for job in (_Job(root, source) for source in sources):
        old = before.get(job.source)
        if old is not None and (old.bytes, old.time) == (job.bytes, job.time):
            stem = stems[job.source]
            states[job.source] = old if old.stem == stem else replace(old, stem=stem, drawn=False)
        else:
            new.append(job)
    for job, (start, stop) in run_jobs(_listen, new, workers, progress, failures, "listening"):
        states[job.source] = _State(job.source, job.bytes, job.time, stems[job.source], start, stop)
        _note(out, states[job.source])
    if not states:
        raise nothing_usable(root, failures)

    plan, warnings = _plan(states, max_minutes, validation_share, seed)
    for label in sorted({label_of(source) for source in sources} - {label_of(source) for source in states}):
        warnings.append(f"{label} has no usable recording, and is left out")
    drawings = [_Drawing(root, source, out, states[source], tuple(plan[source].values())) for source in plan]
    todo = [d for d in drawings if not (d.state.drawn and all(path.exists() for path in d.files().values()))]
    done = set(plan) - {drawing.source for drawing in todo}
    reused = len(done)
    for drawing, _ in run_jobs(_draw, todo, workers, progress, failures, "drawing"):
        done.add(drawing.source)
        states[drawing.source] = replace(drawing.state, drawn=True)
        _note(out, states[drawing.source])
    if not done:
        raise nothing_usable(root, failures)

    pictures = []
    labels = sorted(map(label_of, done))
    hours: dict[str, dict[str, float]] = {label: {"train": 0.0, "validation": 0.0} for label in labels}
    for drawing in drawings:
        if drawing.source in done:
            for split, chunks in plan[drawing.source].items():
                hours[drawing.label][split] += len(chunks) * CHUNK_S / 3600
                pictures += [drawing.picture(split, number) for number in chunks]
    pictures.sort(key=lambda picture: picture.file)
    write_text(out / MANIFEST, _lines(pictures))
    _sweep(out, [*before.values(), *states.values()], {picture.file for picture in pictures})
    write_text(out / RECORDINGS, _lines(states[source] for source in sorted(states)))  # forgets what is gone: so last
    return PrepareReport(out, len(done), reused, hours, tuple(failures), tuple(warnings))


@dataclass(frozen=True)
class _State:
    """What is known of a recording of so many bytes and such a time: its pictures' stem, and its sound, in samples."""

    source: str
    bytes: int
    time: int
    stem: str
    start: int
    stop: int
    drawn: bool = False


def _lines(items: Iterable[Picture | _State]) -> str:
    return "".join(json.dumps(dataclasses.asdict(item)) + "\n" for item in items)


def _note(out: Path, state: _State) -> None:
    with open(out / RECORDINGS, "a", encoding="utf-8") as file:
        file.write(_lines([state]))


def _read_states(out: Path) -> dict[str, _State]:
    """By source; the last line on one counts."""
    states = {}
    if (out / RECORDINGS).exists():
        for line in (out / RECORDINGS).read_text(encoding="utf-8").splitlines():
            try:
                state = _State(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the last line of a killed run
            states[state.source] = state
    return states


def _stems(sources: Sequence[str]) -> dict[str, str]:
    """What the pictures of each source are called: as its file, where that is neither long nor said twice."""

    def plain(source: str) -> str:
        return source.rpartition("/")[2].rpartition(".")[0]

    def same(source: str) -> str:
        return unicodedata.normalize("NFC", f"{label_of(source)}/{plain(source)}").casefold()

    count = Counter(map(same, sources))
    stems = {}
    for source in sources:
        stem = plain(source)
        if count[same(source)] > 1 or len(os.fsencode(stem)) > 200:
            short = os.fsencode(stem)[:180].decode(errors="ignore")
            stem = f"{short}-{sha256(os.fsencode(source)).hexdigest()[:8]}"
        stems[source] = stem
    return stems


def _plan(
    states: Mapping[str, _State], max_minutes: float, validation_share: float, seed: int
) -> tuple[dict[str, dict[str, range]], list[str]]:
    """Source -> split -> the numbers of its chunks; and warnings."""
    most = math.ceil(60 * max_minutes / CHUNK_S)
    by_label: dict[str, dict[str, int]] = defaultdict(dict)
    for source, state in sorted(states.items()):
        by_label[label_of(source)][source] = min(-(-(state.stop - state.start) // CHUNK), most)
    totals = {label: sum(counts.values()) for label, counts in by_label.items()}
    shortest = min(totals, key=lambda label: totals[label])
    plan: dict[str, dict[str, range]] = {}
    warnings = []
    if max(totals.values()) > 2 * totals[shortest]:
        warnings.append(
            f"{shortest} has only {totals[shortest] * CHUNK_S / 60:.1f} min of sound, and every label is cut to that. "
            f"Add recordings of {shortest}, or leave it out"
        )
    for counts in by_label.values():
        counts = _share_out(counts, totals[shortest])
        if len(counts) > 1:
            splits = split_keys(counts, validation_share, seed)
            plan |= {source: {splits[source]: range(count)} for source, count in counts.items()}
            continue
        ((source, count),) = counts.items()
        plan[source] = {"train": range(count)}
        if validation_share:
            last = max(1, round(validation_share * count))
            first = count - last - min(math.ceil(GAP_S / CHUNK_S), math.ceil(0.1 * count))
            if first >= 1:
                plan[source] = {"train": range(first), "validation": range(count - last, count)}
            warnings.append(warn_alone(source, set(plan[source])))
    return plan, warnings


def _share_out(counts: Mapping[str, int], total: int) -> dict[str, int]:
    """As many of each as there are, or all as many, so that together they are `total` at most; none has none."""
    shares, sources = {}, sorted(counts, key=lambda source: (counts[source], source))
    for index, source in enumerate(sources):
        if share := min(counts[source], total // (len(sources) - index)):
            shares[source] = share
            total -= share
    return dict(sorted(shares.items()))


def _sweep(out: Path, states: Sequence[_State], wanted: set[str]) -> None:
    """Removes pictures made from these recordings that are not wanted any more; no other file."""
    stems = defaultdict(set)
    for state in states:
        stems[label_of(state.source)].add(state.stem)
    for label, ours in stems.items():
        if not (out / label).is_dir():
            continue
        for path in list((out / label).iterdir()):
            match = re.fullmatch(r"(.*)_chunk\d+\.png(\.tmp)?", path.name, re.DOTALL)
            if match and match[1] in ours and f"{label}/{path.name}" not in wanted:
                path.unlink()
        if not any((out / label).iterdir()):
            (out / label).rmdir()


# one recording --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job(Recording):
    """A recording whose sound is to be found."""

    @cached_property
    def time(self) -> int:
        return (self.root / self.source).stat().st_mtime_ns


@dataclass(frozen=True)
class _Drawing(Recording):
    """A recording of which these chunks are to be drawn."""

    out: Path
    state: _State
    chunks: tuple[range, ...]

    @property
    def label(self) -> str:
        return label_of(self.source)

    def picture(self, split: str, number: int) -> Picture:
        start_s = (self.state.start + number * CHUNK) / CONFIG.sample_rate
        file = f"{self.label}/{self.state.stem}_chunk{number}.png"
        return Picture(file, self.label, split, self.source, round(start_s, 3))

    def files(self) -> dict[int, Path]:
        """Where each chunk goes."""
        return {number: self.out / self.picture("", number).file for chunks in self.chunks for number in chunks}


def _listen(job: _Job) -> tuple[int, int]:
    """The first sample of a recording's sound, and the first after it, at 22,050 Hz.

    Frames of `n_fft` around every `hop_length`th sample count where they are within 20 dB of the loudest, as in
    librosa's `effects.trim`; here they are put together from spans of `hop_length`.
    """
    hop, span = CONFIG.hop_length, CONFIG.n_fft // CONFIG.hop_length
    energies, held, samples = [np.zeros(span // 2)], np.empty(0, np.float32), 0
    with open_audio(job.root / job.source) as reader:
        for block in mono_blocks(reader, CONFIG.sample_rate):
            samples += len(block)
            held = np.concatenate([held, block])
            whole = len(held) // hop * hop
            energies.append(np.square(held[:whole], dtype=np.float64).reshape(-1, hop).sum(axis=1))
            held = held[whole:]
    energies += [np.square(held, dtype=np.float64).sum(keepdims=True), np.zeros(span // 2 - 1)]
    frames = np.lib.stride_tricks.sliding_window_view(np.concatenate(energies), span)
    level_db = 10 * np.log10((frames.sum(axis=1) / CONFIG.n_fft).clip(1e-10))
    if level_db.max() < FAINTEST_DB:
        raise AudioError(f"{job.source} is silent ({level_db.max():.0f} dB of full scale); expected sound")
    heard = np.flatnonzero(level_db > level_db.max() - TRIM_DB)
    return int(heard[0]) * hop, min(int(heard[-1] + 1) * hop, samples)


def _draw(job: _Drawing) -> None:
    """Writes the pictures of one recording."""
    files = job.files()
    (job.out / job.label).mkdir(parents=True, exist_ok=True)
    with open_audio(job.root / job.source) as reader:
        chunks = _chunks(mono_blocks(reader, CONFIG.sample_rate), job.state.start, job.state.stop)
        for number, chunk in enumerate(chunks):
            if path := files.pop(number, None):
                write_picture(path, mel_spectrogram(torch.from_numpy(chunk)[None, None], CONFIG)[0, 0])
            if not files:
                return
    raise AudioError(f"{job.source} is shorter than it was a moment ago; run again when nothing changes it")


def _chunks(blocks: Iterable[np.ndarray], start: int, stop: int) -> Iterator[np.ndarray]:
    """The samples from `start` to `stop` in pieces of `CHUNK`, the last one padded with silence."""
    held, at = np.empty(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block[max(start - at, 0) : max(stop - at, 0)]])
        at += len(block)
        while len(held) >= CHUNK:
            yield held[:CHUNK]
            held = held[CHUNK:]
        if at >= stop:
            break
    if len(held):
        yield np.pad(held, (0, CHUNK - len(held)))
