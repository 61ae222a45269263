import hashlib

import pytest

from timbrel.instruments import INSTRUMENTS, UNSEEN_INSTRUMENTS, names_a_file, nearest, spelled

ROWS = [*INSTRUMENTS.values(), *UNSEEN_INSTRUMENTS.values()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_holds_together(row):
    assert (INSTRUMENTS | UNSEEN_INSTRUMENTS)[row.name] is row
    assert 0 <= row.program <= 127
    assert 0 <= row.lowest < row.highest - 11 <= 127
    assert row.family in {"keyboard", "mallet", "pipe", "reed", "plucked", "bowed", "voice", "brass", "woodwind"}


def test_no_name_and_no_program_stands_twice():
    assert len({row.name for row in ROWS}) == len({row.program for row in ROWS}) == len(ROWS)


def test_the_benchmark_s_instruments_have_its_programs():
    assert [INSTRUMENTS[name].program for name in ("piano", "guitar", "harp", "violin")] == [0, 24, 46, 40]


def test_old_rows_keep_their_order_which_seeded_draws_depend_on():
    names = " ".join(list(INSTRUMENTS)[:37])
    assert hashlib.sha256(names.encode()).hexdigest()[:12] == "82c913d69377"


def test_no_other_name_means_two_instruments():
    names = [other for row in ROWS for other in (row.name, *row.also.split())]
    for name in names:
        assert spelled(name, [row.name for row in ROWS]) == next(
            row.name for row in ROWS if name == row.name or name in row.also.split()
        )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VIOLIN", "violin"),
        ("Electric_Guitar", "electric-guitar"),
        ("electric guitar", "electric-guitar"),
        ("english horn", "english-horn"),
        ("fiddle", "violin"),
        ("Geige", "violin"),
        ("violon", "violin"),
        ("violín", "violin"),
        ("violino", "violin"),
        ("Querflöte", "flute"),
        ("Flote", "flute"),
        ("flûte", "flute"),
        ("harpe", "harp"),
        ("chitarra", "guitar"),
        ("piano", "piano"),
        ("my-cello", None),
        ("", None),
    ],
)
def test_an_instrument_has_names_in_five_languages_and_any_spelling(name, meant):
    assert spelled(name) == meant


def test_only_what_is_known_is_meant():
    assert spelled("Geige", ["piano", "my-cello"]) is None
    assert spelled("My_Cello", ["piano", "my-cello"]) == "my-cello"
    assert spelled("Piano", ["piano", "Piano"]) == "Piano"
    assert nearest("voilin") == "violin"
    assert nearest("my-celo", ["piano", "my-cello"]) == "my-cello"
    assert nearest("x" * 10_000) is None


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\x85b", "a\u202eb", "\udcff", "x" * 201, " . "]
)
def test_names_that_no_file_has_everywhere_are_refused(name):
    assert not names_a_file(name)
    assert names_a_file("Étude 1")
