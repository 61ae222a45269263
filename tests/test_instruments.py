import hashlib

import pytest

from timbrel.instruments import INSTRUMENTS, UNSEEN_INSTRUMENTS

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
