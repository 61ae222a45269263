"""Notes -> waveform, through TiMidity++ and the sample libraries that are installed."""

from __future__ import annotations

import math
import mmap
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from timbrel.data.scores import Note
from timbrel.errors import InputError, MissingDependencyError


@dataclass(frozen=True)
class Library:
    """A set of sampled instruments. Libraries of one `family` share samples; `without` are instruments that are not
    taken from it: TiMidity++ plays them wrongly (MuseScore's piano comes out dull: it leaves the filters' modulators
    out), nobody would hear them as what they are called (`tools/hear_libraries.py`), or their samples are those
    of freepats, which is held out."""

    name: str
    family: str
    package: str
    licence: str
    files: tuple[str, ...]
    without: tuple[str, ...] = ()

    @property
    def path(self) -> Path | None:
        """Where it is installed, or None."""
        return next((Path(f) for f in self.files if Path(f).exists()), None)


_SF2 = "/usr/share/sounds/sf2/"
LIBRARIES = {
    library.name: library
    for library in (
        Library("fluidr3", "fluid", "fluid-soundfont-gm", "MIT", (_SF2 + "FluidR3_GM.sf2",)),
        Library(
            "musescore",
            "fluid",
            "musescore-general-soundfont-lossless",
            "MIT",
            (_SF2 + "MuseScore_General_Full.sf2", _SF2 + "MuseScore_General.sf2"),
            without=("piano",),
        ),
        Library("timgm6mb", "timgm", "timgm6mb-soundfont", "GPL-2", (_SF2 + "TimGM6mb.sf2",)),
        Library("csound", "timgm", "csound-soundfont", "LGPL-2.1+", (_SF2 + "sf_GMbank.sf2",), without=("panflute",)),
        Library("opl3", "opl3", "opl3-soundfont", "GPL-3+", (_SF2 + "OPL-3_FM_128M.sf2",), without=("harp", "piano")),
        Library(
            "generaluser",
            "generaluser",
            "minuet-data",
            "GeneralUser GS 2.0",
            ("/usr/share/minuet/soundfonts/GeneralUser-v1.47.sf2",),
            without=("electric-guitar", "trombone", "bassoon", "pizzicato"),
        ),
        Library("airfont", "airfont", "denemo-data", "GPL-2+", (_SF2 + "A320U.sf2",), without=("harp",)),
        Library("freepats", "freepats", "freepats", "GPL-2+", ("/etc/timidity/freepats.cfg",)),
    )
}


def find_library(name: str) -> Library:
    """The installed library of that name.

    Raises:
        InputError: for an unknown name.
        MissingDependencyError: if it, or TiMidity++, is not installed.
    """
    if name not in LIBRARIES:
        raise InputError(f"library {name!r} is unknown; expected one of {', '.join(LIBRARIES)}")
    library = LIBRARIES[name]
    if shutil.which("timidity") is None:
        raise MissingDependencyError("TiMidity++ is not installed; on Debian: apt-get install timidity")
    if library.path is None:
        raise MissingDependencyError(
            f"library {name!r} is not installed (looked for {', '.join(library.files)}); on Debian: "
            f"apt-get install {library.package}"
        )
    return library


DRUM_BANK = 128  # of a soundfont


@lru_cache(maxsize=16)
def presets(library: str) -> frozenset[tuple[int, int]]:
    """Bank and program of every preset of an installed soundfont. Errors as `find_library`."""
    path = find_library(library).path
    assert path is not None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.rfind(b"phdr") + 8  # SoundFont 2.01, 7.2: rows of 38 bytes, the last one a sentinel
        rows = data[start : start + struct.unpack_from("<I", data, start - 4)[0] - 38]
    return frozenset((bank, program) for _, program, bank, _ in struct.iter_unpack("<20sHH14s", rows))


def write_midi(
    path: Path,
    notes: Sequence[Note],
    program: int,
    *,
    vibrato_cents: float = 0.0,
    vibrato_hz: float = 5.5,
    drums: bool = False,
) -> None:
    """Writes notes as a MIDI file of one track, with an optional vibrato by pitch bend."""
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(resolution=960)
    part = pretty_midi.Instrument(program, is_drum=drums)
    part.notes = [pretty_midi.Note(n.velocity, n.pitch, n.start_s, max(n.end_s, n.start_s + 0.02)) for n in notes]
    if vibrato_cents and notes:
        stop = max(n.end_s for n in notes)
        times = np.arange(0, stop, 0.02)
        bends = 8191 / 200 * vibrato_cents * np.sin(2 * math.pi * vibrato_hz * times)
        part.pitch_bends = [pretty_midi.PitchBend(int(b), float(t)) for b, t in zip(bends, times, strict=True)]
    midi.instruments.append(part)
    midi.write(str(path))


def render(
    notes: Sequence[Note],
    program: int,
    library: str,
    *,
    sample_rate: int = 44100,
    duration_s: float | None = None,
    vibrato_cents: float = 0.0,
    bank: int = 0,
    drums: bool = False,
) -> np.ndarray:
    """Plays notes on one General MIDI program of one library, dry (no reverb, chorus or delay).

    Args:
        notes: times in seconds from the start of the result; the rest before the first note is kept.
        program: General MIDI program, 0-127.
        library: a name of `LIBRARIES`.
        duration_s: length of the result; by default until the last note has rung out.
        bank: a bank of variations; `presets` says which a library has.
        drums: the program is a drum kit, each pitch another drum (General MIDI's percussion map).

    Returns:
        float32 [samples], mono.

    Raises:
        InputError: no notes, or an unknown library or program.
        MissingDependencyError: TiMidity++ or the library is not installed.
    """
    import soundfile

    if not notes:
        raise InputError("there are no notes to render; expected at least one")
    if not 0 <= program <= 127:
        raise InputError(f"program is {program}; expected a General MIDI program, 0 to 127")
    path = find_library(library).path
    with tempfile.TemporaryDirectory() as folder:
        midi, wav, config = Path(folder, "score.mid"), Path(folder, "out.wav"), Path(folder, "timidity.cfg")
        write_midi(midi, notes, 0 if drums else program, vibrato_cents=vibrato_cents, drums=drums)
        # Named entries, because TiMidity++ reads its default configuration first and prefers those to a soundfont's.
        entry = f'bank 0\n{program} %font "{path}" {bank} {program}\n'
        if drums:
            pitches = sorted({note.pitch for note in notes})
            entry = "drumset 0\n" + "".join(f'{p} %font "{path}" {DRUM_BANK} {program} {p}\n' for p in pitches)
        config.write_text(f'source "{path}"\n' if str(path).endswith(".cfg") else entry)
        command = ["timidity", "-c", str(config), "-Ow", "-s", str(sample_rate), "--output-mono", "-A30"]
        command += [
            "--output-24bit",  # with 16 the rounding is heard as a hiss at 11-13 kHz, and models learn it
            "-EFreverb=0",
            "-EFchorus=0",
            "-EFdelay=0",
            "--preserve-silence",
            "-o",
            str(wav),
            str(midi),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not wav.exists():
            raise MissingDependencyError(f"TiMidity++ failed with {library}: {done.stderr.strip()[-300:]}")
        waveform = soundfile.read(wav, dtype="float32", always_2d=True)[0].mean(axis=1)
    if duration_s is None:
        return waveform
    samples = round(duration_s * sample_rate)
    return np.pad(waveform[:samples], (0, max(0, samples - len(waveform))))
