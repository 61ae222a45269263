"""A mel store: the folder that training reads.

    config.json       the MelConfig of every mel in it
    manifest.jsonl    one recording a line (see `Entry`)
    mels/ID.npy       uint8 [frames, n_mels]: dB, from the floor (0) to 0 dB of full scale (255)

Time comes first, so that a crop is one contiguous read of a memory map. One step is 0.4 dB: its rounding error
(0.11 dB RMS) is far below what any model reaches, at a quarter of float32's size.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.level import target_gain
from timbrel.audio.mel import MelConfig, mel_spectrogram
from timbrel.errors import InputError
from timbrel.files import whole, write_text


@dataclass(frozen=True)
class Entry:
    """One recording of a store. Recordings with the same `group` hold the same notes at the same times."""

    id: str
    label: str
    split: str
    frames: int
    source: str
    group: str | None = None
    program: int | None = None
    library: str | None = None
    composer: str | None = None
    licence: str | None = None
    degraded: bool = False
    gain_db: float = 0.0


def quantise(mel: Tensor, floor_db: float) -> np.ndarray:
    """Mel in dB [..., n_mels, frames] -> uint8 [..., frames, n_mels]; above 0 dB is clipped."""
    scaled = (mel - floor_db) * (255 / -floor_db)
    return scaled.round().clamp(0, 255).to(torch.uint8).transpose(-1, -2).contiguous().numpy()


def dequantise(levels: np.ndarray | Tensor, floor_db: float) -> Tensor:
    """Inverse of `quantise`: uint8 [..., frames, n_mels] -> float32 dB [..., n_mels, frames]."""
    return (torch.as_tensor(levels).float() * (-floor_db / 255) + floor_db).transpose(-1, -2)


def levelled(waveform: np.ndarray, config: MelConfig) -> tuple[np.ndarray, float]:
    """A waveform [samples], mono, brought to `TARGET_RMS_DB`: levels as `quantise` gives them, and the gain in dB."""
    gain = target_gain(waveform, config.hop_length)
    mel = mel_spectrogram(torch.from_numpy(waveform * gain)[None, None], config)[0, 0]
    return quantise(mel, config.floor_db), round(20 * float(np.log10(gain)), 2)


class StoreWriter:
    """Writes a mel store; a store that exists is continued, if it was made with the same MelConfig.

    It may be used by several threads. A mel is written before its manifest line. A killed run leaves a store that is
    valid and shorter, but for a torn last line, which is removed when the store is continued.

    Raises:
        InputError: if `folder` holds a store of another MelConfig, or is a file.
    """

    def __init__(self, folder: str | Path, config: MelConfig) -> None:
        self.folder = Path(folder)
        self.config = config
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; expected a folder for a mel store, new or of an earlier run")
        (self.folder / "mels").mkdir(parents=True, exist_ok=True)
        path = self.folder / "config.json"
        if path.exists():
            existing = MelStore(self.folder)
            if existing.config != config:
                raise InputError(
                    f"{self.folder} holds mels made with {existing.config}; expected {config}. "
                    "Use another folder, or the same settings."
                )
            _end_last_line(self.folder, existing.entries)
            self.done = {entry.id for entry in existing.entries}
        else:
            write_text(path, json.dumps(dataclasses.asdict(config), indent=2) + "\n")
            self.done = set()
        self._lock = threading.Lock()

    def add(self, entry: Entry, levels: np.ndarray) -> None:
        """Adds one recording: `levels` as `quantise` gives them, uint8 [frames, n_mels]."""
        if levels.shape != (entry.frames, self.config.n_mels) or levels.dtype != np.uint8:
            raise InputError(
                f"levels are {levels.dtype} {levels.shape}; expected uint8 {(entry.frames, self.config.n_mels)}"
            )
        write_levels(self.folder, entry.id, levels)
        self.append([entry])

    def append(self, entries: Sequence[Entry]) -> None:
        """Names recordings whose mels are written, perhaps by another process (`write_levels`)."""
        with self._lock:
            with open(self.folder / "manifest.jsonl", "a", encoding="utf-8") as file:
                file.write("".join(map(_line, entries)))
            self.done.update(entry.id for entry in entries)


class MelStore:
    """Reads a mel store.

    Raises:
        InputError: if the folder is not a mel store.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.config = MelConfig(**json.loads((self.folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{self.folder} is not a mel store ({error}); make one with `timbrel data synth` or "
                "`timbrel data prepare`"
            ) from error
        self.entries = list(self._read_manifest())

    def _read_manifest(self) -> Iterator[Entry]:
        path = self.folder / "manifest.jsonl"
        if not path.exists():
            return
        seen: set[str] = set()
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = Entry(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the last line of a killed run
            if entry.id not in seen:
                seen.add(entry.id)
                yield entry

    def levels(self, entry: Entry) -> np.ndarray:
        """Memory map of one recording, uint8 [frames, n_mels]."""
        return load_levels(self.folder, entry.id)

    def mel(self, entry: Entry, start: int = 0, frames: int | None = None) -> Tensor:
        """One recording, or a part of it: float32 dB [n_mels, frames]."""
        stop = None if frames is None else start + frames
        return dequantise(np.array(self.levels(entry)[start:stop]), self.config.floor_db)


def load_levels(folder: Path, entry_id: str) -> np.ndarray:
    """Memory map of one mel of the store at `folder`, uint8 [frames, n_mels]."""
    return np.load(folder / "mels" / f"{entry_id}.npy", mmap_mode="r")


def write_levels(folder: Path, entry_id: str, levels: np.ndarray) -> None:
    """Writes one mel of the store at `folder`, whole or not at all."""
    with whole(folder / "mels" / f"{entry_id}.npy") as temporary:
        np.save(temporary, levels)


def write_manifest(folder: Path, entries: Iterable[Entry]) -> None:
    """Writes the manifest of the store at `folder`, whole or not at all."""
    write_text(folder / "manifest.jsonl", "".join(map(_line, entries)))


def _end_last_line(folder: Path, entries: Iterable[Entry]) -> None:
    """Writes the manifest anew where its last line is torn: the next entry would be part of that line."""
    path = folder / "manifest.jsonl"
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        write_manifest(folder, entries)


def _line(entry: Entry) -> str:
    return json.dumps({k: v for k, v in dataclasses.asdict(entry).items() if v is not None}) + "\n"


def refuse_other_settings(
    folder: Path, before: Mapping[str, Any], settings: Mapping[str, Any], *, but: str = ""
) -> None:
    """Raises InputError where `folder` was made with other values than `settings` has; `but` adds to the remedy."""
    for name, value in settings.items():
        if before.get(name) != value:
            name, old, new = _first_difference(name, before.get(name), value)
            raise InputError(
                f"{folder} was made with {name} {old}; now {name} is {new}. Use the same settings{but}, or another "
                "folder"
            )


def _first_difference(name: str, old: Any, new: Any) -> tuple[str, Any, Any]:
    """The setting, or the first part of it, that differs, and its two values."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return name, old, new
    key = next(key for key in [*old, *new] if key not in old or key not in new or old[key] != new[key])
    return _first_difference(f"{name}, {key},", old.get(key), new.get(key))
