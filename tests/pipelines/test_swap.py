"""The shipped model takes the instrument from the style and the notes from the content, not the other way round.

Four contents, each on one instrument, are transferred to the other three: twelve outputs share four contents
and four styles. All is played by a library that training never heard.
"""

import shutil
from functools import partial

import numpy as np
import pytest

from timbrel.data.render import find_library, render
from timbrel.errors import MissingDependencyError
from timbrel.experiments.benchmark import manifest, measures
from timbrel.metrics import notes, spectral
from timbrel.systems.folder import DEFAULT_MODEL, PRETRAINED

SECONDS = 6.0
LIBRARY = manifest.LIBRARY


def _missing():
    if not (PRETRAINED / DEFAULT_MODEL).is_dir():
        return "no default model ships yet"
    if shutil.which("timidity") is None:
        return "TiMidity++ is not installed: apt-get install timidity freepats"
    try:
        find_library(LIBRARY)
    except MissingDependencyError as error:
        return str(error)
    return None if notes.available() else "basic-pitch is not installed: pip install --no-deps basic-pitch"


pytestmark = pytest.mark.skipif(_missing() is not None, reason=_missing() or "")


def _tunes(count):
    """Passages of the benchmark that are quick to read, each of another tune."""
    excerpts = [e for t in manifest.triplets() for e in (t.content, t.style)]
    quick = {e.score: e for e in excerpts if e.score.startswith("oneills1850/0487")}
    return [[n for n in quick[score].notes() if n.end_s <= SECONDS] for score in sorted(quick)[:count]]


@pytest.fixture(scope="module")
def outputs():
    """(source, target, score, what the model made, the true answer), the sounds as the measures hear them."""
    from timbrel import load

    pipe = load()
    *contents, style_tune = _tunes(5)
    play = partial(render, library=LIBRARY, duration_s=SECONDS)
    styles = {name: play(style_tune, program) for name, program in manifest.PROGRAMS.items()}
    made = []
    for (source, program), score in zip(manifest.PROGRAMS.items(), contents, strict=True):
        sound = play(score, program)[None]
        times = np.array([[n.start_s, n.end_s, n.pitch] for n in score])
        for target in manifest.PROGRAMS:
            if target != source:
                result = pipe(sound, to=styles[target][None], sample_rate=44100, seed=0)
                heard = [result.waveform, play(score, manifest.PROGRAMS[target])]
                made.append((source, target, times, *(spectral.prepare(x, 44100) for x in heard)))
    return made


def test_the_instrument_is_the_styles(outputs):
    judge = measures.classifier()
    hits = [piece == target for _, target, _, result, _ in outputs for piece in judge.predict(result)[1]]
    assert np.mean(hits) >= 0.9


def test_the_notes_are_the_contents(outputs):
    found = [notes.evaluate(score, result)["note_f1"] for _, _, score, result, _ in outputs]
    possible = [notes.evaluate(score, truth)["note_f1"] for _, _, score, _, truth in outputs]
    assert np.mean(found) >= 0.8 * np.mean(possible)


def test_the_notes_are_not_another_contents(outputs):
    found = [
        notes.evaluate(score, result)["note_f1"]
        for source, target, _, result, _ in outputs
        for other, same_target, score, _, _ in outputs
        if other != source and same_target == target
    ]
    assert np.mean(found) <= 0.2
