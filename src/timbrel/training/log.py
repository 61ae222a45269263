"""The log of a run: metrics.jsonl, TensorBoard and the progress."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from timbrel.files import write_text
from timbrel.training.state import TrainingState


class Log:
    """The log in the run's folder `out`, of the main process."""

    def __init__(self, out: Path, state: TrainingState) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.state = state
        self.last_step, self.last_s = state.step, state.progress.elapsed_s
        if state.step == 0:
            shutil.rmtree(out / "tensorboard", ignore_errors=True)
        self.file = _reopen(out / "metrics.jsonl", state.step)
        self.writer: Any = SummaryWriter(str(out / "tensorboard"), purge_step=state.step + 1 if state.step else None)
        self.bar = tqdm(total=state.recipe.steps, initial=state.step, unit="step", disable=not sys.stderr.isatty())
        self.line_s = -math.inf

    def scalars(self, values: dict[str, float]) -> None:
        """A line of metrics.jsonl; names without a slash are of training."""
        elapsed_s = round(self.state.progress.elapsed_s, 2)
        self.file.write(json.dumps({"step": self.state.step, "elapsed_s": elapsed_s, **values}) + "\n")
        self.file.flush()
        for name, value in values.items():
            self.writer.add_scalar(name if "/" in name else f"train/{name}", value, self.state.step)

    def training(self, means: dict[str, float]) -> None:
        """Scalars since the last call, and the progress."""
        step, elapsed_s = self.state.step, self.state.progress.elapsed_s
        samples = (step - self.last_step) * self.state.recipe.batch_size
        rate = samples / max(elapsed_s - self.last_s, 1e-9)
        self.last_step, self.last_s = step, elapsed_s
        self.scalars(means | {"learning_rate": self.state.learning_rate(), "samples_per_s": rate})
        self._progress(means["loss"])

    def _progress(self, loss: float) -> None:
        """A bar, or a line a minute where stderr is no terminal."""
        step, elapsed_s = self.state.step, self.state.progress.elapsed_s
        total = max(step, round(step / self.state.share()))  # fewer than recipe.steps where the clock ends the run
        if not self.bar.disable:
            self.bar.total = total
            self.bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            self.bar.update(step - self.bar.n)
        elif elapsed_s - self.line_s >= 60:
            self.line_s = elapsed_s
            remaining = tqdm.format_interval(elapsed_s / step * (total - step))
            print(f"step {step} of {total}, loss {loss:.4g}, {remaining} left", file=sys.stderr)

    def samples(self, samples: dict[str, Any]) -> None:
        """A stage's `samples`."""
        step = self.state.step
        for name, sample in samples.items():
            if isinstance(sample, tuple):
                waveform, sample_rate = sample
                self.writer.add_audio(name, torch.as_tensor(waveform)[None], step, int(sample_rate))
            elif hasattr(sample, "savefig"):
                self.writer.add_figure(name, sample, step)
            else:
                self.writer.add_image(name, sample, step, dataformats="HW" if sample.ndim == 2 else "CHW")
        self.writer.flush()

    def close(self) -> None:
        self.bar.close()
        self.file.close()
        self.writer.close()


def _reopen(path: Path, step: int) -> Any:
    """The file to append to, without what a killed run wrote after its last checkpoint, at `step`: it is done again."""
    lines = path.read_text().splitlines() if step and path.exists() else []
    earlier = []
    for line in lines:
        with contextlib.suppress(ValueError):  # a line cut short
            earlier += [line + "\n"] if json.loads(line)["step"] <= step else []
    write_text(path, "".join(earlier))
    return path.open("a")
