"""Weights, their EMA, the optimisers' moments, and where the run is: what a checkpoint holds."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from timbrel.errors import InputError, ModelError
from timbrel.files import whole
from timbrel.training.recipes import Recipe

# What may change between a run and its resumption; any other field would make it a different experiment.
FREE_FIELDS = frozenset(
    [
        "steps",
        "max_minutes",
        "log_every",
        "validate_every",
        "checkpoint_every_s",
        "num_threads",
        "num_workers",
    ]
)
BETAS = (0.9, 0.99)
ADVERSARY_BETAS = (0.8, 0.99)  # less momentum for what chases a moving target (Kong et al. 2020, arXiv 2010.05646)
ADVERSARY = "adversary/"  # before the names of the adversaries' tensors
REMEDY = "give another folder, or start over (--restart, resume=False)"


class Optimised:
    """Modules, the AdamW that trains them, and its moments. Weight decay spares biases and scales."""

    def __init__(self, modules: nn.Module, recipe: Recipe, betas: tuple[float, float] = BETAS) -> None:
        self.modules = modules
        self.named = {name: p for name, p in modules.named_parameters() if p.requires_grad}
        self.parameters: list[Tensor] = list(self.named.values())
        self.clip_norm = recipe.clip_norm
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
                {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=betas,
            fused=True,
        )

    def step(self, learning_rate: float) -> Tensor:
        """One step down the gradients that there are; returns their norm before it was clipped."""
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, gradients pass through the modules and are not kept for their parameters."""
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self.parameters:
                parameter.requires_grad_(True)

    def tensors(self) -> dict[str, Tensor]:
        """Everything by its name, as live references."""
        tensors = {f"weights/{name}": p.detach() for name, p in self.named.items()}
        tensors |= {f"buffers/{name}": b for name, b in self.modules.named_buffers()}
        for name, p in self.named.items():
            tensors |= {f"{kind}/{name}": value for kind, value in self.optimizer.state[p].items()}
        return tensors

    def make_moments(self, names: set[str]) -> None:
        """Room for the moments of these tensors: a fresh optimiser has none yet."""
        for name, p in self.named.items():
            if f"exp_avg/{name}" in names:
                moments = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
                self.optimizer.state[p] = {"step": torch.zeros((), device=p.device), **moments}


@dataclasses.dataclass
class Progress:
    """Where a run is, but for its tensors."""

    step: int = 0
    elapsed_s: float = 0.0
    count: int = 0  # steps since the last log
    best: float = math.inf  # of validation, as `TrainingState.validated` has them
    waited: int = 0
    plateau: float = 1.0


class TrainingState:
    """A run: what is trained, the EMA, the progress, and sums of what is logged since the last log.

    Args:
        modules: what is trained.
        recipe: the run's.
        identity: what else a resumed run must have in common.
        adversaries: the discriminators, or None.
        adversary_rate: their learning rate, as a multiple.
    """

    def __init__(
        self,
        modules: nn.Module,
        recipe: Recipe,
        identity: dict[str, str],
        adversaries: nn.Module | None = None,
        adversary_rate: float = 1.0,
    ) -> None:
        self.recipe, self.settings = recipe, _as_json(recipe) | identity
        self.trained = Optimised(modules, recipe)
        self.adversaries = Optimised(adversaries, recipe, ADVERSARY_BETAS) if adversaries else None
        self.adversary_rate = adversary_rate
        self.ema = [p.detach().float().clone() for p in self.trained.parameters]
        self.progress = Progress()
        self.sums: dict[str, Tensor] = {}

    @property
    def step(self) -> int:
        """Steps that are done."""
        return self.progress.step

    def share(self) -> float:
        """How much of the run is behind, in [0, 1] and beyond: of the steps or of the minutes."""
        minutes = self.recipe.max_minutes
        of_time = self.progress.elapsed_s / (60 * minutes) if minutes else 0.0
        return max(self.step / self.recipe.steps, of_time)

    def finished(self) -> bool:
        return self.share() >= 1

    def learning_rate(self) -> float:
        """Linear warm-up times a cosine from 1 to `min_learning_rate_ratio` over the run's share, times what plateaus
        of the validation have left."""
        floor = self.recipe.min_learning_rate_ratio
        cosine = floor + (1 - floor) * (1 + math.cos(math.pi * min(self.share(), 1.0))) / 2
        warm_up = min(1.0, (self.step + 1) / max(self.recipe.warmup_steps, 1))
        rate = self.recipe.learning_rate * warm_up * cosine
        return max(rate * self.progress.plateau, min(rate, self.recipe.plateau_floor))

    def adversary_learning_rate(self) -> float:
        return self.learning_rate() * self.adversary_rate

    def validated(self, figure: float) -> bool:
        """Counts a validation; whether its figure is the best. More than `plateau_patience` in a row whose figure is
        not 0.01 % below the best shrink the learning rate by `plateau_factor`, down to `plateau_floor`: as torch's
        ReduceLROnPlateau, but resumable."""
        progress, patience = self.progress, self.recipe.plateau_patience
        better = figure < progress.best * (1 - 1e-4)
        progress.best, progress.waited = (figure, 0) if better else (progress.best, progress.waited + 1)
        if patience is not None and progress.waited > patience:
            progress.plateau, progress.waited = progress.plateau * self.recipe.plateau_factor, 0
        return better

    def update(self) -> Tensor:
        """Trains the modules and their EMA by one step down the gradients that there are; returns their norm."""
        norm = self.trained.step(self.learning_rate())
        # The first steps' weights are forgotten fast: the decay grows to its value as (1 + t) / (10 + t).
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.ema, [p.float() for p in self.trained.parameters], 1 - decay)
        return norm

    def count_step(self, values: dict[str, Tensor]) -> None:
        """A step is done; `values` go into the sums."""
        for name, value in values.items():
            value = value.detach()
            self.sums[name] = self.sums[name].to(value.device) + value if name in self.sums else value
        self.progress.count += 1
        self.progress.step += 1

    def means(self) -> dict[str, Tensor]:
        """Of what was logged, per step since the last log."""
        return {name: total / max(self.progress.count, 1) for name, total in self.sums.items()}

    def forget_sums(self) -> None:
        """After a log."""
        self.sums, self.progress.count = {}, 0

    @contextlib.contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Inside, the modules hold the EMA weights, in eval mode, without gradients."""
        parameters = self.trained.parameters
        trained = [p.detach().clone() for p in parameters]
        self.trained.modules.eval()
        with torch.no_grad():
            torch._foreach_copy_(parameters, self.ema)
            try:
                yield
            finally:
                torch._foreach_copy_(parameters, trained)
                self.trained.modules.train()

    def tensors(self) -> dict[str, Tensor]:
        """Everything by its name, as live references."""
        tensors = self.trained.tensors()
        tensors |= {f"ema/{name}": e for name, e in zip(self.trained.named, self.ema, strict=True)}
        if self.adversaries:
            tensors |= {f"{ADVERSARY}{name}": tensor for name, tensor in self.adversaries.tensors().items()}
        return tensors

    def save(self, path: Path) -> None:
        """Writes the checkpoint: killed at any moment, a whole one is there."""
        sums = {name: float(value) for name, value in self.sums.items()}
        run = {"progress": dataclasses.asdict(self.progress), "settings": self.settings, "sums": sums}
        tensors = {name: t.contiguous() for name, t in self.tensors().items()}
        with whole(path) as temporary:
            save_file(tensors, temporary, metadata={"run": json.dumps(run)})
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())

    def load(self, path: Path) -> None:
        """Continues from `save`.

        Raises:
            InputError: the run had another recipe or identity.
            ModelError: the checkpoint cannot be read, or is of another model.
        """
        progress, settings, sums, loaded = _read(path)
        self._check_settings(settings, path)
        self.trained.make_moments(set(loaded))
        if self.adversaries:
            self.adversaries.make_moments({n.removeprefix(ADVERSARY) for n in loaded if n.startswith(ADVERSARY)})
        tensors = self.tensors()
        misfits = [n for n, t in tensors.items() if n not in loaded or loaded[n].shape != t.shape]
        misfits += [n for n in loaded if n not in tensors]
        if misfits:
            raise ModelError(f"{path} is of another model: {', '.join(misfits[:3])} do not fit; {REMEDY}")
        for name, tensor in tensors.items():
            tensor.copy_(loaded[name])
        self.progress, self.sums = progress, {name: torch.tensor(value) for name, value in sums.items()}

    def _check_settings(self, earlier: dict[str, Any], path: Path) -> None:
        settings = self.settings
        shared = [name for name in earlier if name in settings and name not in FREE_FIELDS]
        changed = [name for name in shared if not _agree(earlier[name], settings[name])]
        if changed:
            listed = ", ".join(f"{name} (was {earlier[name]!r}, now {settings[name]!r})" for name in changed)
            raise InputError(f"the run in {path.parent} had another recipe: {listed}; restore it, {REMEDY}")


def _read(path: Path) -> tuple[Progress, dict[str, Any], dict[str, float], dict[str, Tensor]]:
    """A checkpoint's progress, settings, sums and tensors."""
    try:
        with safe_open(path, framework="pt") as file:
            run = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Progress(**run["progress"]), run["settings"], run["sums"], tensors
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a readable checkpoint ({error}): {REMEDY}") from error


def _agree(earlier: Any, now: Any) -> bool:
    """Whether two settings are the same, as far as both have them: a newer version may know more."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        return all(_agree(earlier[name], now[name]) for name in earlier if name in now)
    return bool(earlier == now)


def _as_json(recipe: Recipe) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(recipe), default=str))
