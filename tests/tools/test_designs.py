"""The designs that are compared: each of them trains and samples; the table has a line for each number of steps."""

import json
from typing import Any

import pytest
import torch

from timbrel.audio.mel import MelConfig
from tools import designs

MEL = MelConfig()


def write(out, name, sampling):
    means = {key: [0.5, 0.4, 0.6] for key in designs.DIGITS}
    row: dict[str, Any] = {"design": {"about": name, "sampling": sampling}}
    for steps in sampling:
        row |= {f"sample_cpu_ms_{steps}": 6.4} | {f"{where}, {steps} steps": means for where in ("heard", "unheard")}
    (out / f"{name}.json").write_text(json.dumps(row))
    for where in ("heard", "unheard"):
        (out / f"nothing-{where}.json").write_text(json.dumps(means))


def test_the_table_has_a_line_for_each_number_of_steps(tmp_path):
    write(tmp_path, "diffusion", [1, 4])
    table = designs.table(["diffusion"], tmp_path)
    assert [row[:3] for row in table.rows] == [
        ["nothing done", "0", "0"],
        ["diffusion", "1", "6"],
        ["diffusion", "4", "6"],
    ]
    assert len({len(row) for row in (table.headings, *table.rows)}) == 1


@pytest.mark.parametrize("name", ["base", "diffusion-v", "flow", "picture", "both", "pitch-content", "style-label"])
def test_a_design_learns_and_samples(name):
    design = designs.DESIGNS[name]
    torch.manual_seed(0)
    mels = torch.rand(2, 1, 256, 32) * -60
    codec = designs.principal_components(design.channels, torch.rand(8, 1, 256, 32) * -60)
    height = MEL.n_mels // 4
    moments = torch.zeros(design.channels, height, 1), torch.ones(design.channels, height, 1)
    trial = designs.Trial(design, MEL, codec, moments, labels=3)
    batch = {
        "target": mels,
        "content": mels.flip(0),
        "style": mels,
        "label": torch.tensor([0, 2]),
        "chance": torch.tensor([0.1, 0.9]),
        "timesteps": torch.tensor([10, 900]),
        "noise": torch.randn(2, 16, height, 8),
    }
    trial.loss(batch, designs.encoded(codec, batch)).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trial.modules.parameters())
    assert trial.sample(batch, 2).shape == mels.shape
