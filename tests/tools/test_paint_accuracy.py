import numpy as np
import pytest
import torch

from timbrel.data.paint.labels import LABELS
from timbrel.data.paint.procedural import draw_picture
from timbrel.data.paint.store import Pictures
from timbrel.pipelines.picture import PaintPipeline
from tools import paint_accuracy
from tools.paint_accuracy import features, grid, paint, train_judge


def test_the_judge_tells_families_apart_that_it_saw_by_other_seeds(monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(paint_accuracy, "SEEDS", range(10_000, 10_006))
    label = torch.tensor([k for k, label in enumerate(LABELS) if label.real])
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (len(label), 128, 128, 3), np.uint8))
    judge = train_judge(Pictures(pixels, label, torch.ones_like(label)))
    procedural = [k for k, label in enumerate(LABELS) if not label.real]
    said = judge.predict([features(draw_picture(LABELS[k].pictures, 3)) for k in procedural])
    assert np.mean(said == procedural) > 0.8


def test_it_paints_as_the_pipeline_does(tiny_painter):
    pipe, waveform = PaintPipeline.load(tiny_painter), np.sin(np.arange(48000) / 9, dtype=np.float32)
    heard = pipe.model.hear(torch.from_numpy(waveform))
    [expected] = pipe(waveform, sample_rate=16000, size=128, seed=0)
    [made] = paint(pipe, [heard])
    assert np.abs(made.astype(int) - expected.pixels).max() <= 2  # the pipeline rounds, and takes the mean away
    assert grid([made, made], [0, 17], 3).size == (3 * 128, 18 * 128)
