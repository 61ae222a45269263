import shutil

import numpy as np
import pytest

from timbrel.data.paint.music import EXCERPT_S, HABITS, LIBRARIES, SCORES, compose_label, render_label, work_name
from timbrel.data.render import LIBRARIES as INSTALLED
from timbrel.data.splits import is_held_out
from timbrel.errors import InputError


@pytest.mark.parametrize("name", HABITS)
def test_composed_music_fills_30_s_and_follows_its_seed(name):
    work, parts = compose_label(name, np.random.default_rng(1), 1)
    notes = [note for part in parts for note in part.notes]
    assert work == f"{name} 1"
    assert all(0 <= n.start_s < EXCERPT_S and n.end_s > n.start_s and 0 <= n.pitch <= 127 for n in notes)
    assert max(n.end_s for n in notes) > EXCERPT_S - 5
    assert compose_label(name, np.random.default_rng(1), 1)[1] == parts
    assert compose_label(name, np.random.default_rng(2), 1)[1] != parts


def test_what_the_benchmark_owns_stays_out():
    assert not any(is_held_out(composer=folder) for folder, _, _ in SCORES.values())
    assert not any(is_held_out(library=name) for name in LIBRARIES)


def test_a_works_name_is_known_before_it_is_composed():
    assert work_name("Heavy metal", 7) == "Heavy metal 7"
    pytest.importorskip("music21")
    names = [work_name("Baroque Classical symbolism", work) for work in range(5)]
    assert len(set(names)) == 5
    assert compose_label("Baroque Classical symbolism", np.random.default_rng(0), 3)[0] == names[3]
    with pytest.raises(InputError, match="'Polka' has no music"):
        work_name("Polka", 0)


def test_an_unknown_label_is_refused():
    with pytest.raises(InputError, match="'Polka' has no music"):
        compose_label("Polka", np.random.default_rng(0), 0)


@pytest.mark.skipif(
    shutil.which("timidity") is None or any(INSTALLED[name].path is None for name in LIBRARIES),
    reason="TiMidity++ or a soundfont is missing",
)
def test_a_clip_is_30_s_at_full_scale():
    work, waveform = render_label("Heavy metal", 3)
    assert work == "Heavy metal 3"
    assert waveform.shape == (480_000,)
    assert np.abs(waveform).max() == pytest.approx(1, abs=1e-5)
