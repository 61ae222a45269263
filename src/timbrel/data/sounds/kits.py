"""Recorded drums, loops and effects: Hydrogen's drum kits and Sonic Pi's samples.

Debian's `hydrogen-data` and `hydrogen-drumkits` have a folder a kit, whose `drumkit.xml` names its pieces and the
recordings of each, from soft to loud. Debian's `sonic-pi-samples` (CC0; npm's `supersonic-scsynth-samples` has the
same) are single files, whose names say what they are.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from timbrel.audio.io import read_audio
from timbrel.data.sounds.maker import LONGEST_S, Maker, in_a_room, played, resampled, rhythm, seconds
from timbrel.errors import AudioError, MissingDependencyError

KIT_LICENCES = {  # of Hydrogen's kits, by folder; debian/copyright of the two packages
    "Audiophob": "CC0",
    "BJA_Pacific": "CC BY-SA 3.0 US",
    "circAfrique v4": "CC BY-SA 3.0",
    "rumpf_kit_z01_h2": "CC BY 3.0",
}
KITS, FILES_FOLDER = "/usr/share/hydrogen/data/drumkits", "/usr/share/sonic-pi/samples"  # Debian's
UNKNOWN_LICENCE = "unknown: see its source"
# Names of pieces, the first that matches counts -> class.
PIECES = (
    (r"djembe", "djembe"),
    (r"(dununba|sangban|kenkeni)\d* bell", "agogo"),
    (r"\bbell|ride", "ride cymbal"),
    (r"crash|splash|china|cymbal", "crash cymbal"),
    (r"hat\b|hats\b|hi.?hat|\bhh\b|ohh\b", "hi-hat"),
    (r"kick|bass ?drum", "bass drum"),
    (r"rim|stick|click", "wood block"),
    (r"snare", "snare drum"),
    (r"\btom", "tom-tom"),
    (r"clap", "hand clapping"),
    (r"snap", "finger snap"),
    (r"conga", "conga"),
    (r"bongo", "bongo"),
    (r"agogo", "agogo"),
    (r"cow ?bell", "cowbell"),
    (r"tambourine", "tambourine"),
    (r"maraca|shaker", "shaker"),
    (r"clave|wood ?block", "wood block"),
    (r"whistle", "whistle"),
)
# Names of files -> class, and how they sound: struck in a rhythm, once at any speed, or over and over.
FILES = (
    (r"bd_|drum_heavy_kick|drum_bass|elec_(soft|hollow)_kick", "bass drum", "hits"),
    (r"sn_|drum_snare|elec_(\w+_)?snare", "snare drum", "hits"),
    (r"drum_cymbal_(closed|open|pedal)", "hi-hat", "hits"),
    (r"drum_cymbal|drum_splash|elec_cymbal", "crash cymbal", "hits"),
    (r"drum_tom|elec_fuzz_tom", "tom-tom", "hits"),
    (r"drum_cowbell", "cowbell", "hits"),
    (r"elec_triangle", "triangle", "hits"),
    (r"elec_wood", "wood block", "hits"),
    (r"tabla_", "tabla", "hits"),
    (r"perc_snap", "finger snap", "hits"),
    (r"elec_(beep|blip|blup|flip|ping|plip|pop|twip)", "electronic blip", "hits"),
    (r"bass_", "synth bass", "hits"),
    (r"perc_bell|elec_bell|elec_chime", "bell", "hits"),
    (r"perc_(swash|swoosh)|ambi_(dark_woosh|swoosh)", "whoosh", "once"),
    (r"(mehackit|glitch)_robot", "robot", "once"),
    (r"vinyl_(scratch|rewind|backspin)", "vinyl scratching", "hits"),
    (r"guit_", "electric guitar", "once"),
    (r"ambi_choir", "choir", "loop"),
    (r"ambi_(drone|glass|haunted|lunar|sauna|soft)|loop_drone", "drone", "loop"),
    (r"loop_tabla", "tabla", "loop"),
    (r"loop_(amen|break|compus|electric|garzul|industrial|mehackit|mika|perc|safari|weirdo)", "drum beat", "loop"),
)


def kit_makers(folder: str) -> Iterator[Maker]:
    """A maker for each piece of Hydrogen's drum kits in `folder` that is of a class.

    Raises:
        MissingDependencyError: there are none.
    """
    kits = sorted(Path(folder).glob("*/drumkit.xml"))
    if not kits:
        raise MissingDependencyError(
            f"{folder} holds no drum kits; on Debian: apt-get install hydrogen-data hydrogen-drumkits"
        )
    others = "GPL-2" if Path(folder) == Path(KITS) else UNKNOWN_LICENCE
    for kit in kits:
        library = kit.parent.name
        for number, (name, files) in enumerate(_pieces(kit)):
            label = next((label for pattern, label in PIECES if re.search(pattern, name.casefold())), None)
            if label and files:
                make = functools.partial(_struck, files)
                licence = KIT_LICENCES.get(library, others)
                yield Maker(label, f"hydrogen {library}", licence, make, recording=f"{library}/{number} {name}")


def file_makers(folder: str) -> Iterator[Maker]:
    """A maker for each of Sonic Pi's samples in `folder` that is of a class. Errors as `kit_makers`."""
    paths = sorted(Path(folder).glob("*.flac"))
    if not paths:
        raise MissingDependencyError(f"{folder} holds no samples; on Debian: apt-get install sonic-pi-samples")
    sonic_pi = Path(folder) == Path(FILES_FOLDER) or "supersonic-scsynth-samples" in Path(folder).parts
    licence = "CC0" if sonic_pi else UNKNOWN_LICENCE
    ways = {"hits": _struck_one, "once": _once, "loop": _looped}
    for path in paths:
        for pattern, label, way in FILES:
            if re.match(pattern, path.stem):
                make = functools.partial(ways[way], path)
                yield Maker(label, "sonic-pi", licence, make, recording=f"sonic-pi/{path.stem}")
                break


def _pieces(kit: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Names and recordings, from soft to loud; empty where the file names none. A broken kit has no pieces."""
    try:
        root = ElementTree.fromstring(re.sub(rb'\sxmlns="[^"]+"', b"", kit.read_bytes()))
    except ElementTree.ParseError as error:
        warnings.warn(f"{kit} is left out: it is no XML ({error})", stacklevel=3)
        return
    for piece in root.iter("instrument"):
        layers = [(float(n.findtext("min") or 0), n.findtext("filename")) for n in piece.iter("layer")]
        names = [name for _, name in sorted(layers, key=lambda layer: layer[0]) if name]
        names = names or [f.text for f in piece.iter("filename") if f.text]
        files = tuple(path for name in names if (path := kit.parent / name).exists() and "emptySample" not in name)
        yield piece.findtext("name") or "", files


@functools.lru_cache(maxsize=128)
def _read(path: Path, rate: int) -> np.ndarray:
    """float32 [samples], at most `LONGEST_S`, peak 1."""
    mono = read_audio(path, sample_rate=rate, mono=True)[0][0][: round(LONGEST_S * rate)]
    peak = float(np.abs(mono).max(initial=0))
    if peak < 1e-4:
        raise AudioError(f"{path} is silent; expected a recorded sound")
    return mono / peak


def _faster(rng: np.random.Generator, semitones: float) -> float:
    return float(2 ** (rng.uniform(-semitones, semitones) / 12))


def _struck(files: tuple[Path, ...], rng: np.random.Generator, rate: int) -> np.ndarray:
    """A rhythm, played by one piece."""
    factor = _faster(rng, 3)
    layers = [resampled(_read(path, rate), factor, rate) for path in files]
    return in_a_room(played(rhythm(rng), layers, rng, rate), rng, rate)


def _struck_one(path: Path, rng: np.random.Generator, rate: int) -> np.ndarray:
    return _struck((path,), rng, rate)


def _once(path: Path, rng: np.random.Generator, rate: int) -> np.ndarray:
    return in_a_room(resampled(_read(path, rate), _faster(rng, 5), rate), rng, rate)


def _looped(path: Path, rng: np.random.Generator, rate: int) -> np.ndarray:
    """A loop, which is made to be repeated, from some moment on."""
    loop = resampled(_read(path, rate), _faster(rng, 4), rate)
    samples = round(seconds(rng) * rate)
    loop = np.roll(loop, -int(rng.integers(len(loop))))
    return in_a_room(np.tile(loop, samples // len(loop) + 1)[:samples], rng, rate)
