import csv
import json
from collections import Counter
from itertools import permutations
from pathlib import Path

import pytest
import torch

from timbrel.cli.main import main
from timbrel.data.report_001.pairs import PairedPictures, make_pairs
from timbrel.data.report_001.pictures import read_manifest, write_picture
from timbrel.errors import AudioError, InputError

COUNTS = {"flute": (12, 3), "harp, old": (6, 2), "violin": (12, 4)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of three labels, each of another grey at its right edge."""
    return make(tmp_path / "pictures", COUNTS)


def make(folder: Path, counts: dict[str, tuple[int, int]]) -> Path:
    lines = []
    for label, (train, validation) in counts.items():
        (folder / label).mkdir(parents=True)
        for number in range(train + validation):
            file = f"{label}/a_chunk{number}.png"
            mel = torch.full((128, 130), -80.0)
            mel[0, 0], mel[0, 1] = 0, -80 + number
            write_picture(folder / file, mel)
            split = "train" if number < train else "validation"
            lines.append(
                json.dumps(dict(file=file, label=label, split=split, source=f"{label}/a.wav", start_s=3.0 * number))
            )
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return folder


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_pairs_are_distinct_balanced_and_within_a_split(folder: Path, tmp_path: Path):
    counts = make_pairs(folder, tmp_path / "pairs.csv", num_pairs=390)
    assert counts == {"train": 300, "validation": 90}
    pairs, manifest = rows(tmp_path / "pairs.csv"), read_manifest(folder)
    assert Counter(row[4] for row in pairs) == counts
    for split, count in counts.items():
        couples = Counter((a, b) for a, _, b, _, of in pairs if of == split)
        assert couples == dict.fromkeys(permutations(COUNTS, 2), count // 6)
    for a, i, b, j, split in pairs:
        assert manifest[a][int(i)].split == manifest[b][int(j)].split == split


def test_no_pair_comes_again_while_there_are_others(folder: Path, tmp_path: Path):
    make_pairs(folder, tmp_path / "pairs.csv", num_pairs=390)
    by_couple: dict[tuple, list] = {}
    for a, i, b, j, split in rows(tmp_path / "pairs.csv"):
        by_couple.setdefault((split, a, b), []).append((i, j))
    for (split, a, b), pairs in by_couple.items():
        side = 0 if split == "train" else 1
        total = COUNTS[a][side] * COUNTS[b][side]
        times = Counter(pairs).values()
        assert len(times) == min(total, len(pairs))
        assert max(times) == -(-len(pairs) // total)
    assert any(len(pairs) > len({*pairs}) for pairs in by_couple.values())
    assert any(len(pairs) == len({*pairs}) for pairs in by_couple.values())


def test_the_same_seed_gives_the_same_file(folder: Path, tmp_path: Path):
    made = []
    for name, seed in (("a", 42), ("b", 42), ("c", 43)):
        make_pairs(folder, tmp_path / f"{name}.csv", num_pairs=1000, seed=seed)
        made.append((tmp_path / f"{name}.csv").read_bytes())
    assert made[0] == made[1] != made[2]
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("num_pairs", [1, 5, 7])
def test_few_pairs_are_as_many_as_asked(folder: Path, tmp_path: Path, num_pairs: int):
    assert sum(make_pairs(folder, tmp_path / "pairs.csv", num_pairs=num_pairs).values()) == num_pairs
    assert len(rows(tmp_path / "pairs.csv")) == num_pairs


def test_a_paired_dataset_reads_what_the_file_says(folder: Path, tmp_path: Path):
    make_pairs(folder, tmp_path / "pairs.csv", num_pairs=390)
    pairs = PairedPictures(folder, tmp_path / "pairs.csv", "validation")
    assert len(pairs) == 90
    assert len(PairedPictures(folder, tmp_path / "pairs.csv")) == 390
    written = [row for row in rows(tmp_path / "pairs.csv") if row[4] == "validation"]
    read = [pairs[k] for k in range(len(pairs))]
    for (a, i, b, j, _), ((picture1, label1), (picture2, label2)) in zip(written, read, strict=True):
        assert (a, b) == (label1, label2)
        for label, place, picture in ((a, i, picture1), (b, j, picture2)):
            assert (picture.shape, picture.dtype) == ((1, 128, 128), torch.float32)
            names = sorted(f"a_chunk{number}.png" for number in range(sum(COUNTS[label])))
            number = int(names[int(place)].partition("chunk")[2][:-4])
            assert float(picture[0, 0, 1]) * 80 == pytest.approx(number, abs=0.17)


def test_a_loader_takes_the_dataset(folder: Path, tmp_path: Path):
    make_pairs(folder, tmp_path / "pairs.csv", num_pairs=39)
    loader = torch.utils.data.DataLoader(PairedPictures(folder, tmp_path / "pairs.csv", "train"), batch_size=8)
    (first, labels), (second, _) = next(iter(loader))
    assert first.shape == second.shape == (8, 1, 128, 128)
    assert len(labels) == 8


def test_pictures_are_read_only_when_asked_for(folder: Path, tmp_path: Path):
    make_pairs(folder, tmp_path / "pairs.csv", num_pairs=390)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    pairs = PairedPictures(folder, tmp_path / "pairs.csv")
    with pytest.raises(InputError, match="cannot be read"):
        pairs[0]


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"flute": (3, 1)}, "expected at least two labels"),
        ({"flute": (3, 1), "harp": (0, 0)}, "harp holds no picture"),
        ({"flute": (3, 1), "harp": (3, 0)}, "harp has no validation picture"),
        ({"flute": (3, 1), "harp": (0, 2)}, "harp has no train picture"),
        ({}, "no folder of pictures"),
    ],
)
def test_a_folder_without_pairs_is_refused(tmp_path: Path, counts: dict, reason: str):
    (tmp_path / "pictures").mkdir()
    if counts:
        make(tmp_path / "pictures", counts)
    with pytest.raises(InputError, match=reason):
        make_pairs(tmp_path / "pictures", tmp_path / "pairs.csv")
    assert not (tmp_path / "pairs.csv").exists()


def test_training_pairs_alone(tmp_path: Path):
    make(tmp_path / "pictures", {"flute": (3, 0), "harp": (2, 0)})
    assert make_pairs(tmp_path / "pictures", tmp_path / "pairs.csv", num_pairs=20) == {"train": 20}


def test_a_file_that_cannot_be_written_is_refused(folder: Path, tmp_path: Path):
    (tmp_path / "pairs.csv").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        make_pairs(folder, tmp_path / "pairs.csv")
    assert (tmp_path / "pairs.csv").read_text() == "mine"
    with pytest.raises(InputError, match=r"expected one of \.csv"):
        make_pairs(folder, tmp_path / "pairs.txt")
    with pytest.raises(AudioError, match="no folder"):
        make_pairs(folder, tmp_path / "none" / "pairs.csv")
    with pytest.raises(InputError, match="num_pairs is 0"):
        make_pairs(folder, tmp_path / "new.csv", num_pairs=0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot be read"),
        ("", "has no pair"),
        ("flute,0,violin,0\n", "line 1: 'flute, 0, violin, 0' is no pair"),
        ("flute,0,violin,0,train\nflute,99,violin,0,train\n", "line 2: .* is no pair"),
        ("flute,-1,violin,0,train\n", "is no pair"),
        ("drum,0,violin,0,train\n", "is no pair"),
        ("label1,idx1,label2,idx2,split\n", "is no pair"),
        ("flute,0,violin,0,validation\n", "the pictures have changed"),
        ("flute,0,violin,0,train\n", "has no pair of validation, it has train"),
        ("flute,0,violin,0,tr\0ain\n", "cannot be read|is no pair|changed"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(folder: Path, tmp_path: Path, text: str | None, reason: str):
    path = tmp_path / "pairs.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=reason):
        PairedPictures(folder, path, "validation")


def test_the_command(folder: Path, capsys: pytest.CaptureFixture):
    assert main(["data", "pairs", str(folder), "--num-pairs", "39"]) == 0
    assert capsys.readouterr().out == f"{folder / 'pairs.csv'}: 30 train, 9 validation pairs\n"
    assert main(["data", "pairs", str(folder / "none")]) == 2
    assert "timbrel data pictures" in capsys.readouterr().err
