"""The one training loop: any stage, on CPU, one GPU, or `torchrun --nproc_per_node N`, resumable to the bit.

    fit(stage, "runs/autoencoder")

What `out` then holds: `model/` (the finished model, EMA weights; also fresh at every checkpoint),
`checkpoint.safetensors` (everything that a resumed run needs), `metrics.jsonl` and `tensorboard/`.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from timbrel.errors import InputError, MissingDependencyError, TimbrelError
from timbrel.files import whole_folder
from timbrel.training.log import Log
from timbrel.training.recipes import Recipe
from timbrel.training.stage import Stage
from timbrel.training.state import TrainingState

PREFETCH = 2
_HANG_UP = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # Windows has none
Values = dict[str, Tensor]


def fit(stage: Stage, out: str | Path, *, resume: bool = True) -> bool:
    """Trains `stage.modules` in place by AdamW and leaves `out/model`. Seeds torch's global generator.

    Args:
        stage: what to train, by its recipe; its weights are already initialised. The recipe's `batch_size` is over
            all processes. With `max_minutes` of training time the cosine follows the larger of the two shares, of the
            steps and of the minutes.
        out: the run's folder. Killed at any moment, the same call continues it. In one fp32 process without
            `max_minutes` the weights come out bit for bit as if undisturbed; with `max_minutes` the schedule
            goes on where it was, but depends on the clock, so no two runs are equal.
        resume: False starts over, whatever `out` holds.

    Returns:
        True if the run is finished; False after Ctrl-C, once the step's checkpoint is written. SIGTERM and SIGHUP keep
        the step, too, and then take their course.

    Raises:
        InputError: a recipe that does not fit the checkpoint or the number of processes.
        ModelError: a checkpoint that is broken or of another model.
        TimbrelError: the loss is no longer finite.
        MissingDependencyError: the extra [train] is not installed.
    """
    return _Run(stage, Path(out), resume).train()


class _Run:
    """One call of `fit`: a stage on its device, its state, and the times of its log, validations and checkpoints."""

    def __init__(self, stage: Stage, out: Path, resume: bool) -> None:
        self.stage, self.recipe, self.out = stage, stage.recipe, out
        self.accelerator = _accelerator(self.recipe)
        self.device, self.processes = self.accelerator.device, self.accelerator.num_processes
        for module in stage.frozen.values():
            module.to(self.device).eval().requires_grad_(False)
        self.objective, trained = self._objective(stage.modules, stage.loss)
        adversaries = None
        if stage.adversaries and self.recipe.accumulation > 1:
            raise InputError(f"accumulation is {self.recipe.accumulation}; expected 1 with discriminators")
        if stage.adversaries:
            self.discriminator_objective, adversaries = self._objective(stage.adversaries, stage.discriminator_loss)
        self.state = TrainingState(trained, self.recipe, stage.identity, adversaries, stage.adversary_rate)
        self.checkpoint = out / "checkpoint.safetensors"
        self._resume(resume)
        self.log = Log(out, self.state) if self.accelerator.is_main_process else None
        self.begin = time.monotonic() - self.state.progress.elapsed_s
        self.kept_s = self.state.progress.elapsed_s

    def _objective(self, modules: dict[str, nn.Module], loss: Callable[..., Values]) -> tuple[nn.Module, nn.Module]:
        """A loss that moves the modules to the device, as one module, and the modules in it."""
        objective = _Objective(modules, loss, self.recipe.precision == "bf16")
        return self.accelerator.prepare(objective), objective.trained

    def _resume(self, resume: bool) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            if self.accelerator.is_main_process and not resume:
                self.checkpoint.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to {self.out} ({error}): give a folder that can be written") from error
        if resume and self.checkpoint.exists():
            self.state.load(self.checkpoint)
        self.accelerator.wait_for_everyone()

    def train(self) -> bool:
        """Trains all remaining steps; True if the run is finished then."""
        if self.state.finished():  # by an earlier call
            self._keep()
        self.objective.train()
        with (
            _stop_signals(self.processes) as signals,
            contextlib.closing(self.log) if self.log else contextlib.nullcontext(),
            contextlib.closing(_batches(self.stage, self.state.step, self.accelerator)) as batches,
        ):
            stopped = False
            while not (self.state.finished() or stopped):
                self._step(next(batches))
                stopped = self._agree(bool(signals))
                self._report(stopped)
            if self.log:
                self._say_what_is_left()
        return self.state.finished()

    def _say_what_is_left(self) -> None:
        with contextlib.suppress(OSError):  # after SIGHUP there may be no terminal
            if not self.state.finished():
                print(f"stopped after {self.state.step} steps: the same call continues", file=sys.stderr)
            if self.recipe.keep_best and self._unvalidated():
                print(f"no validation gave a figure: {self.out / 'model'} is the last, not the best", file=sys.stderr)

    def _step(self, batch: Values) -> None:
        """Trains the modules, then the adversaries, on one batch."""
        state, adversaries = self.state, self.state.adversaries
        self._seed()
        with adversaries.frozen() if adversaries else contextlib.nullcontext():
            values = self._gradients(batch)
            values["grad_norm"] = state.update()
        if adversaries:
            judged = self.discriminator_objective(batch, state.step)
            judged["loss"].backward()
            judged["grad_norm"] = adversaries.step(state.adversary_learning_rate())
            values |= {f"discriminator/{name}": value for name, value in judged.items()}
        state.count_step(values)

    def _gradients(self, batch: Values) -> Values:
        """Those of a batch, in the recipe's number of parts; returns the means of what the loss logs."""
        count = self.recipe.accumulation
        means: Values = {}
        for part in zip(*(value.chunk(count) for value in batch.values()), strict=True):
            values = self.objective(dict(zip(batch, part, strict=True)), self.state.step)
            (values["loss"] / count).backward()
            means = {name: means.get(name, 0) + value.detach() / count for name, value in values.items()}
        return means

    def _seed(self) -> None:
        """Random numbers that a loss draws (for dropout, say) depend on the step alone, so that runs resume exactly."""
        # torch.manual_seed takes half a millisecond where no accelerator is
        seed = torch.default_generator.manual_seed if self.device.type == "cpu" else torch.manual_seed
        seed((self.recipe.seed * 1_000_003 + self.state.step) * self.processes + self.accelerator.process_index)

    def _agree(self, stopped: bool) -> bool:
        """Sets the clock; True to stop. All processes must decide alike where the clock or a signal decides."""
        progress = self.state.progress
        progress.elapsed_s = time.monotonic() - self.begin
        if self.processes > 1:
            shared = torch.tensor([progress.elapsed_s, float(stopped)], device=self.device)
            progress.elapsed_s, stops = self.accelerator.reduce(shared, "mean").tolist()
            stopped = stops > 0
        return stopped

    def _report(self, stopped: bool) -> None:
        """Logs, validates and keeps what is due after a step."""
        state, recipe = self.state, self.recipe
        logs = state.step % recipe.log_every == 0
        validates = state.step % recipe.validate_every == 0 or state.finished()
        since_kept_s = state.progress.elapsed_s - self.kept_s
        keeps = since_kept_s >= recipe.checkpoint_every_s or state.finished() or stopped
        means = self._means() if logs or validates or keeps else {}
        if logs:
            if self.log:
                self.log.training(means)
            state.forget_sums()
        if validates:
            self._validate()
        if keeps:
            self._keep()
            self.kept_s = state.progress.elapsed_s

    def _means(self) -> dict[str, float]:
        """Means since the last log over all processes; checked before anything is written."""
        means = self.state.means()
        values = torch.stack([value.to(self.device) for value in means.values()])
        figures = dict(zip(means, self.accelerator.reduce(values, "mean").tolist(), strict=True))
        for name, value in figures.items():
            if name.rpartition("/")[2] in ("loss", "grad_norm") and not math.isfinite(value):
                raise self._not_finite(name, value)
        return figures

    def _not_finite(self, name: str, value: float) -> TimbrelError:
        recipe, checkpoint = self.recipe, self.checkpoint
        remark = f"{checkpoint} is from before" if checkpoint.exists() else "there is no checkpoint yet"
        return TimbrelError(
            f"{name} became {value} within the {self.state.progress.count} steps up to {self.state.step}, where a "
            f"finite number was expected ({remark}). Start over (--restart, resume=False, or another folder) with a "
            f"learning_rate below {recipe.learning_rate:g}, a clip_norm below {recipe.clip_norm:g}, more than "
            f"{recipe.warmup_steps} warmup_steps or precision fp32; or look for NaN in the data"
        )

    def _validate(self) -> None:
        first = torch.zeros((), device=self.device)
        if self.log:
            with self.state.ema_weights():
                figures = self.stage.validate()
                self.log.scalars({f"validation/{name}": value for name, value in figures.items()})
                self.log.samples(self.stage.samples())
            first += next(iter(figures.values()))
        figure = float(self.accelerator.reduce(first, "sum"))  # the others wait here, and hear of it
        if self.state.validated(figure) and self.recipe.keep_best:
            self._keep_model()

    def _keep(self) -> None:
        """Writes the checkpoint, and the model if it is the last one that counts."""
        if self.accelerator.is_main_process:
            self.state.save(self.checkpoint)
        if not self.recipe.keep_best or self._unvalidated():
            self._keep_model()
        self.accelerator.wait_for_everyone()

    def _unvalidated(self) -> bool:
        """Whether no validation has given a figure yet."""
        return math.isinf(self.state.progress.best)

    def _keep_model(self) -> None:
        if self.accelerator.is_main_process:
            with self.state.ema_weights(), whole_folder(self.out / "model") as folder:
                self.stage.save(folder)


def _accelerator(recipe: Recipe) -> Any:
    """Devices and processes, and the threads that the recipe asks for."""
    try:
        import torch.utils.tensorboard
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ImportError as error:
        raise MissingDependencyError(
            f"training needs accelerate and tensorboard ({error}): pip install 'timbrel[train]'"
        ) from error
    if recipe.num_threads:
        torch.set_num_threads(recipe.num_threads)
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # unsaid, torchrun's processes would not find each other
        mixed_precision="no",  # autocast is around the loss, below
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    shares = accelerator.num_processes * recipe.accumulation
    if recipe.batch_size % shares:
        raise InputError(
            f"batch_size is {recipe.batch_size}, which {accelerator.num_processes} processes with accumulation "
            f"{recipe.accumulation} cannot share: give a multiple of {shares}"
        )
    return accelerator


class _Objective(nn.Module):
    """A loss as one module: DDP sees every forward pass, whatever methods the stage calls."""

    def __init__(self, modules: dict[str, nn.Module], loss: Callable[..., Values], bf16: bool) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(modules)
        self.loss, self.bf16 = loss, bf16

    def forward(self, batch: Values, step: int) -> Values:
        device = next(self.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            values = self.loss(batch, step)
        return {name: (v if name == "loss" else v.detach()).float() for name, v in values.items()}


class _Steps(Dataset[Values]):
    """What a worker process makes for its parent: the parent's slice of the batch of each step."""

    def __init__(self, stage: Stage, rank: int, processes: int) -> None:
        self.stage, self.rank, self.processes = stage, rank, processes

    def __getitem__(self, step: int) -> Values:
        batch = self.stage.batch(step)
        return {name: v.chunk(self.processes)[self.rank] for name, v in batch.items()}


def _own_group(worker: int) -> None:
    """A terminal's signals, and those of `timeout`, reach a whole process group; the main process decides when to
    stop."""
    os.setpgid(0, 0)


def _batches(stage: Stage, start: int, accelerator: Any) -> Generator[Values]:
    """The batches of all steps from `start`, made ahead in worker processes: threads would fight over the
    interpreter and the cores (on 2 cores that halves the speed)."""
    workers = stage.recipe.num_workers
    loader = DataLoader(
        _Steps(stage, accelerator.process_index, accelerator.num_processes),
        batch_size=None,
        sampler=range(start, stage.recipe.steps),
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_own_group,
        generator=torch.Generator(),  # else starting it draws from the global one, and a resumed run differs
        pin_memory=accelerator.device.type == "cuda",
    )
    for batch in loader:
        yield {name: v.to(accelerator.device, non_blocking=True) for name, v in batch.items()}


@contextlib.contextmanager
def _stop_signals(processes: int) -> Iterator[list[int]]:
    """Collects Ctrl-C, SIGTERM and, where it is not ignored (nohup), SIGHUP, so that the step at hand is finished; a
    second one interrupts at once (not under torchrun, which sends each signal once more, nor right after the first:
    `timeout` sends two). At the end what was collected is raised anew, but Ctrl-C, of which the caller hears
    otherwise."""
    caught: list[int] = []
    first_s = 0.0

    def handle(number: int, frame: object) -> None:
        nonlocal first_s
        if not caught:
            first_s = time.monotonic()
        elif processes == 1 and time.monotonic() > first_s + 1:
            raise KeyboardInterrupt
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    numbers = [number for number in _HANG_UP if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, *numbers)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught and caught[0] != signal.SIGINT:
        signal.raise_signal(caught[0])
