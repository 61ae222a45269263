import numpy as np
import pytest
import torch

from timbrel.data.paint.labels import LABELS
from timbrel.data.paint.procedural import draw_picture
from timbrel.data.paint.store import Pictures
from timbrel.errors import InputError
from timbrel.metrics import picture_label

PROCEDURAL = [k for k, label in enumerate(LABELS) if not label.real]


@pytest.fixture(scope="module")
def judge():
    pytest.importorskip("sklearn")
    label = torch.tensor([k for k, label in enumerate(LABELS) if label.real])
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (len(label), 128, 128, 3), np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_label, "SEEDS", range(10_000, 10_006))
        return picture_label.train_judge(Pictures(pixels, label, torch.ones_like(label)), range(len(LABELS)))


def test_the_judge_tells_families_apart_that_it_saw_by_other_seeds(judge):
    pixels = np.stack([draw_picture(LABELS[k].pictures, 3) for k in PROCEDURAL])
    shares = picture_label.evaluate(judge, pixels, PROCEDURAL)
    assert list(shares) == PROCEDURAL
    assert np.mean(list(shares.values())) > 0.8
    others = picture_label.evaluate(judge, pixels, PROCEDURAL[1:] + PROCEDURAL[:1])
    assert np.mean(list(others.values())) < 0.2


def test_what_cannot_be_judged_is_refused(judge):
    with pytest.raises(InputError, match="1 pictures and 2 labels"):
        picture_label.evaluate(judge, np.zeros((1, 128, 128, 3), np.uint8), [0, 1])
    empty = Pictures(torch.zeros(1, 128, 128, 3, dtype=torch.uint8), torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(InputError, match="no validation picture of Romanticism figure"):
        picture_label.train_judge(empty, [4])
