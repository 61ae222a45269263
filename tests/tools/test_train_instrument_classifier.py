import shutil

import numpy as np
import pytest
from safetensors import safe_open

from timbrel.data.render import LIBRARIES, render
from timbrel.data.scores import compose
from timbrel.experiments.benchmark import measures
from timbrel.experiments.benchmark.manifest import PROGRAMS
from timbrel.metrics import spectral
from tools import train_instrument_classifier


def test_the_frozen_judge_knows_the_four_instruments():
    judge = measures.classifier()
    assert set(judge.labels) == set(PROGRAMS)
    assert judge.support_vectors.shape == (judge.num_support.sum(), 59)
    with safe_open(measures.CLASSIFIER, "numpy") as file:
        assert set(file.keys()) >= {"mean", "scale", "support_vectors", "dual_coef", "intercept", "num_support"}


@pytest.mark.skipif(
    shutil.which("timidity") is None or LIBRARIES["freepats"].path is None,
    reason="TiMidity++ or the Freepats library is not installed: apt-get install timidity freepats",
)
def test_it_tells_them_apart_on_a_score_it_never_heard():
    notes = [n for n in compose(5, 8.0) if 55 <= n.pitch <= 88 and n.end_s < 8]
    heard = []
    for name, program in PROGRAMS.items():
        waveform = render(notes, program, "freepats", duration_s=8.0)
        heard.append(measures.classifier().predict(spectral.prepare(waveform, 44100))[0] == name)
    assert all(heard)


def test_training_gives_a_judge_of_what_it_heard(tmp_path, monkeypatch):
    """With sounds made up in the place of renderings: each instrument its own colour of noise."""

    def examples(job):
        rng = np.random.default_rng(job[1] + int(job[0][-1]))
        return [(name, rng.normal(k, 0.5, 59)) for k, name in enumerate(PROGRAMS)]

    monkeypatch.setattr(train_instrument_classifier, "_examples", examples)
    monkeypatch.setattr(
        train_instrument_classifier.scores, "corpus_scores", lambda composers: [f"{composers[0]}/{k}" for k in range(9)]
    )
    path = tmp_path / "judge.safetensors"
    judge = train_instrument_classifier.train_instrument_classifier(path, num_scores=8, workers=1, progress=False)
    assert path.exists()
    means = np.stack([np.full(59, float(k)) for k in range(4)])
    assert [judge.labels[i] for i in judge.scores(means).argmax(1)] == list(PROGRAMS)
