"""The one training loop: any stage, on CPU, one GPU, or `torchrun --nproc_per_node N`, resumable to the bit.

    fit(stage, recipe, "runs/autoencoder")

What `out` then holds: `model/` (the finished model, EMA weights; also fresh at every checkpoint),
`checkpoint.safetensors` (everything that a resumed run needs), `metrics.jsonl` and `tensorboard/`.
"""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from timbrel.errors import InputError, MissingDependencyError, ModelError, TimbrelError
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
PREFETCH = 2


class Stage(Protocol):
    """What is trained. Optional besides: `frozen` (dict of modules that only need moving to the device), `identity`
    (dict of str: what else makes it this run and no other; a run with another is not resumed) and `samples()` -> dict
    of name -> figure | picture [height, width] or [3, height, width] in [0, 1] | audio as (waveform [samples] in
    [-1, 1], sample_rate), for TensorBoard."""

    modules: dict[str, nn.Module]

    def batch(self, step: int) -> dict[str, Tensor]:
        """The whole batch of `step` on the CPU, from (recipe.seed, step) alone; called in a background
        thread. Every tensor's first axis is the samples, and whatever is random per sample is in here: each
        process takes its slice."""

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Scalars to log, "loss" among them: means over the samples given, which are on the device."""

    def validate(self) -> dict[str, float]:
        """Figures on held-out data, with the EMA weights in `modules`, in eval mode, without gradients. The first
        is the one whose plateaus count; less is better."""

    def save(self, folder: Path) -> None:
        """Writes the model into `folder`, which exists and is empty, with the EMA weights in `modules`."""


class _Objective(nn.Module):
    """The stage's loss as one module: DDP sees every forward pass, whatever methods the stage calls."""

    def __init__(self, stage: Stage, bf16: bool) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(stage.modules)
        self.loss, self.bf16 = stage.loss, bf16

    def forward(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        device = next(self.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            values = self.loss(batch, step)
        return {name: (v if name == "loss" else v.detach()).float() for name, v in values.items()}


def fit(stage: Stage, recipe: Recipe, out: str | Path, *, resume: bool = True) -> bool:
    """Trains `stage.modules` in place by AdamW and leaves `out/model`. Seeds torch's global generator.

    Args:
        stage: what to train; its weights are already initialised.
        recipe: `batch_size` is over all processes; `weight_decay` spares biases and scales. With
            `max_minutes` of training time the cosine follows the larger of the two shares, of the steps and
            of the minutes.
        out: the run's folder. Killed at any moment, the same call continues it. In one fp32 process without
            `max_minutes` the weights come out bit for bit as if undisturbed; with `max_minutes` the schedule
            goes on where it was, but it hangs on the clock, so no two runs are equal.
        resume: False starts over, whatever `out` holds.

    Returns:
        True if the run is finished; False after Ctrl-C or SIGTERM, once the step's checkpoint is written.

    Raises:
        InputError: a recipe that does not fit the checkpoint or the number of processes.
        ModelError: a checkpoint that is broken or of another model.
        TimbrelError: the loss is no longer finite.
        MissingDependencyError: the extra [train] is not installed.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            f"training needs accelerate and tensorboard ({error}): pip install 'timbrel[train]'"
        ) from error

    if recipe.precision not in ("bf16", "fp32"):
        raise InputError(f"precision is {recipe.precision!r}; expected 'bf16' or 'fp32'")
    for name in ("steps", "batch_size", "learning_rate", "clip_norm", "validate_every", "log_every"):
        if not getattr(recipe, name) > 0:
            raise InputError(f"{name} is {getattr(recipe, name)}; expected more than 0")
    if recipe.num_threads:
        torch.set_num_threads(recipe.num_threads)
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # unsaid, torchrun's processes would not find each other
        mixed_precision="no",  # autocast is around the loss, below
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    device, main, processes = accelerator.device, accelerator.is_main_process, accelerator.num_processes
    if recipe.batch_size % processes:
        raise InputError(
            f"batch_size is {recipe.batch_size}, which {processes} processes cannot share: give a multiple"
        )
    for module in getattr(stage, "frozen", {}).values():
        module.to(device).eval().requires_grad_(False)
    objective = _Objective(stage, recipe.precision == "bf16")
    wrapped = accelerator.prepare(objective)
    state = TrainingState(objective.trained, recipe, getattr(stage, "identity", {}))

    out = Path(out)
    checkpoint = out / "checkpoint.safetensors"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if main and not resume:
            checkpoint.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {out} ({error}): give a folder that can be written") from error
    if resume and checkpoint.exists():
        state.load(checkpoint)
    accelerator.wait_for_everyone()
    log = _Log(out, state, SummaryWriter) if main else None

    # torch.manual_seed takes half a millisecond where no accelerator is
    seed_all = torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed

    def figures() -> dict[str, float]:
        """Means since the last log over all processes; checked before anything is written."""
        values = torch.stack([value.to(device) for value in state.sums.values()]) / max(state.count, 1)
        means = dict(zip(state.sums, accelerator.reduce(values, "mean").tolist(), strict=True))
        for name in ("loss", "grad_norm"):
            if not math.isfinite(means[name]):
                kept = f"{checkpoint} is from before" if checkpoint.exists() else "there is no checkpoint yet"
                raise TimbrelError(
                    f"{name} became {means[name]} within the {state.count} steps up to {state.step}, where a "
                    f"finite number was expected ({kept}). Start over (resume=False, or another folder) "
                    f"with a learning_rate below {recipe.learning_rate:g}, a clip_norm below "
                    f"{recipe.clip_norm:g}, more than {recipe.warmup_steps} warmup_steps or precision fp32; "
                    f"or look for NaN in the data"
                )
        return means

    def keep() -> None:
        if main:
            state.save(checkpoint)
            with state.ema_weights():
                _save_folder(stage, out / "model")
        accelerator.wait_for_everyone()

    begin, kept_s = time.monotonic() - state.elapsed_s, state.elapsed_s
    if done := state.finished():  # by an earlier call
        keep()
    objective.train()
    with (
        contextlib.closing(log) if log else contextlib.nullcontext(),
        contextlib.closing(_batches(stage, recipe, state.step, accelerator)) as batches,
        _stop_signals(processes) as signals,
    ):
        while not done:
            # What the loss draws beyond its batch (dropout, say) hangs on the step alone, to resume exactly.
            seed_all((recipe.seed * 1_000_003 + state.step) * processes + accelerator.process_index)
            values = wrapped(next(batches), state.step)
            values["loss"].backward()
            values["grad_norm"] = nn.utils.clip_grad_norm_(state.parameters, recipe.clip_norm)
            state.update(values)

            state.elapsed_s, stopped = time.monotonic() - begin, bool(signals)
            if processes > 1:  # they must decide alike on what hangs on the clock or on a signal
                shared = torch.tensor([state.elapsed_s, float(stopped)], device=device)
                state.elapsed_s, stops = accelerator.reduce(shared, "mean").tolist()
                stopped = stops > 0
            done = state.finished() or stopped
            logs = state.step % recipe.log_every == 0
            validates = state.step % recipe.validate_every == 0 or state.finished()
            keeps = state.elapsed_s - kept_s >= recipe.checkpoint_every_s or done

            if logs or validates or keeps:
                means = figures()
            if logs:
                if log:
                    log.training(means)
                state.sums, state.count = {}, 0
            if validates:
                first = torch.zeros((), device=device)
                if log:
                    with state.ema_weights():
                        found = stage.validate()
                        log.scalars({f"validation/{name}": v for name, v in found.items()})
                        log.samples(stage.samples() if hasattr(stage, "samples") else {})
                    first += next(iter(found.values()))
                state.validated(float(accelerator.reduce(first, "sum")))  # the others wait here, and hear of it
            if keeps:
                keep()
                kept_s = state.elapsed_s
    if main and not state.finished():
        print(f"stopped after {state.step} steps: the same call continues", file=sys.stderr)
    return state.finished()


class TrainingState:
    """Weights, their EMA, the optimizer's moments, and where the run is: what a checkpoint holds."""

    def __init__(self, modules: nn.Module, recipe: Recipe, identity: dict[str, str]) -> None:
        self.modules, self.recipe, self.settings = modules, recipe, _as_json(recipe) | identity
        self.named = {name: p for name, p in modules.named_parameters() if p.requires_grad}
        self.parameters: list[Tensor] = list(self.named.values())
        self.ema = [p.detach().float().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
                {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.step, self.elapsed_s = 0, 0.0
        self.best, self.waited, self.plateau = math.inf, 0, 1.0  # of validation, as `validated` has them
        self.sums: dict[str, Tensor] = {}  # of the logged values since the last log, over `count` steps
        self.count = 0

    def share(self) -> float:
        """How much of the run is behind, in [0, 1] and beyond: of the steps or of the minutes."""
        minutes = self.recipe.max_minutes
        return max(self.step / self.recipe.steps, self.elapsed_s / (60 * minutes) if minutes else 0.0)

    def finished(self) -> bool:
        return self.share() >= 1

    def learning_rate(self) -> float:
        """Linear warm-up times a cosine from 1 to `min_learning_rate_ratio` over the run's share, times what plateaus
        of the validation have left."""
        floor = self.recipe.min_learning_rate_ratio
        cosine = floor + (1 - floor) * (1 + math.cos(math.pi * min(self.share(), 1.0))) / 2
        warm_up = min(1.0, (self.step + 1) / max(self.recipe.warmup_steps, 1))
        rate = self.recipe.learning_rate * warm_up * cosine
        return max(rate * self.plateau, min(rate, self.recipe.plateau_floor))

    def validated(self, figure: float) -> None:
        """More than `plateau_patience` validations in a row whose figure is not 0.01 % below the best shrink the
        learning rate by `plateau_factor`, down to `plateau_floor`: as torch's ReduceLROnPlateau, but resumable."""
        better = figure < self.best * (1 - 1e-4)
        self.best, self.waited = (figure, 0) if better else (self.best, self.waited + 1)
        if self.recipe.plateau_patience is not None and self.waited > self.recipe.plateau_patience:
            self.plateau, self.waited = self.plateau * self.recipe.plateau_factor, 0

    def update(self, values: dict[str, Tensor]) -> None:
        """One step from the gradients at hand; `values` go into the sums."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        # The first steps' weights are forgotten fast: the decay grows to its value as (1 + t) / (10 + t).
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.ema, [p.float() for p in self.parameters], 1 - decay)
        for name, value in values.items():
            value = value.detach()
            self.sums[name] = self.sums[name].to(value.device) + value if name in self.sums else value
        self.count += 1
        self.step += 1

    @contextlib.contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Inside, the modules hold the EMA weights, in eval mode, without gradients."""
        trained = [p.detach().clone() for p in self.parameters]
        self.modules.eval()
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.ema)
            try:
                yield
            finally:
                torch._foreach_copy_(self.parameters, trained)
                self.modules.train()

    def tensors(self) -> dict[str, Tensor]:
        """Everything by its name, as live references."""
        found = {f"weights/{name}": p.detach() for name, p in self.named.items()}
        found |= {f"buffers/{name}": b for name, b in self.modules.named_buffers()}
        found |= {f"ema/{name}": e for name, e in zip(self.named, self.ema, strict=True)}
        for name, p in self.named.items():
            found |= {f"{kind}/{name}": v for kind, v in self.optimizer.state[p].items()}
        return found

    def save(self, path: Path) -> None:
        """One file, renamed into place when complete: killed at any moment, a whole checkpoint is there."""
        run: dict[str, Any] = {"step": self.step, "elapsed_s": self.elapsed_s, "count": self.count}
        run |= {"sums": {name: float(v) for name, v in self.sums.items()}, "recipe": self.settings}
        run |= {"best": self.best, "waited": self.waited, "plateau": self.plateau}
        temporary = path.with_suffix(".tmp")
        tensors = {name: t.contiguous() for name, t in self.tensors().items()}
        save_file(tensors, temporary, metadata={"run": json.dumps(run)})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Continues from `save`. Raises InputError on a changed recipe, ModelError on what does not fit."""
        remedy = "give another folder, or resume=False to start over"
        try:
            with safe_open(path, framework="pt") as file:
                run = json.loads(file.metadata()["run"])
                loaded = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} is not a readable checkpoint ({error}): {remedy}") from error
        was, now = run["recipe"], self.settings
        changed = [name for name in was if name in now and was[name] != now[name] and name not in FREE_FIELDS]
        if changed:
            listed = ", ".join(f"{name} (was {was[name]!r}, now {now[name]!r})" for name in changed)
            raise InputError(f"the run in {path.parent} had another recipe: {listed}; restore it, {remedy}")

        for name, p in self.named.items():  # a fresh optimizer has no moments yet
            if f"exp_avg/{name}" in loaded:
                moments = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
                self.optimizer.state[p] = {"step": torch.zeros((), device=p.device), **moments}
        tensors = self.tensors()
        misfits = [n for n, t in tensors.items() if n not in loaded or loaded[n].shape != t.shape]
        misfits += [n for n in loaded if n not in tensors]
        if misfits:
            raise ModelError(f"{path} is of another model: {', '.join(misfits[:3])} do not fit; {remedy}")
        for name, tensor in tensors.items():
            tensor.copy_(loaded[name])
        self.step, self.elapsed_s, self.count = run["step"], run["elapsed_s"], run["count"]
        self.sums = {name: torch.tensor(value) for name, value in run["sums"].items()}
        self.best, self.waited, self.plateau = run.get("best", math.inf), run.get("waited", 0), run.get("plateau", 1.0)


class _Steps(Dataset[dict[str, Tensor]]):
    """What a worker process makes: this process's slice of the batch of each step."""

    def __init__(self, stage: Stage, rank: int, processes: int) -> None:
        self.stage, self.rank, self.processes = stage, rank, processes

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        batch = self.stage.batch(step)
        return {name: v.chunk(self.processes)[self.rank] for name, v in batch.items()}


def _ignore_interrupt(worker: int) -> None:
    """Ctrl-C reaches the whole process group; the main process decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _batches(stage: Stage, recipe: Recipe, start: int, accelerator: Any) -> Generator[dict[str, Tensor]]:
    """The batches of all steps from `start`, made ahead in worker processes: threads would fight over the
    interpreter and the cores (on 2 cores that halves the speed)."""
    loader = DataLoader(
        _Steps(stage, accelerator.process_index, accelerator.num_processes),
        batch_size=None,
        sampler=range(start, recipe.steps),
        num_workers=recipe.num_workers,
        prefetch_factor=PREFETCH if recipe.num_workers else None,
        multiprocessing_context="fork" if recipe.num_workers else None,
        worker_init_fn=_ignore_interrupt,
        generator=torch.Generator(),  # else starting it draws from the global one, and a resumed run differs
        pin_memory=accelerator.device.type == "cuda",
    )
    for batch in loader:
        yield {name: v.to(accelerator.device, non_blocking=True) for name, v in batch.items()}


class _Log:
    """metrics.jsonl, TensorBoard and the progress, of the main process."""

    def __init__(self, out: Path, state: TrainingState, writer: Callable[..., Any]) -> None:
        self.state = state
        self.last_step, self.last_s = state.step, state.elapsed_s
        path, board = out / "metrics.jsonl", out / "tensorboard"
        kept = []
        if state.step == 0:
            shutil.rmtree(board, ignore_errors=True)
        elif path.exists():  # what a killed run wrote after its last checkpoint is done again
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError):  # a line cut short
                    kept += [line + "\n"] if json.loads(line)["step"] <= state.step else []
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        temporary.replace(path)
        self.file = path.open("a")
        self.writer = writer(str(board), purge_step=state.step + 1 if state.step else None)
        self.bar = tqdm(total=state.recipe.steps, initial=state.step, unit="step", disable=not sys.stderr.isatty())
        self.line_s = -math.inf

    def scalars(self, values: dict[str, float]) -> None:
        record = {"step": self.state.step, "elapsed_s": round(self.state.elapsed_s, 2), **values}
        self.file.write(json.dumps(record) + "\n")
        self.file.flush()
        for name, value in values.items():
            self.writer.add_scalar(name if "/" in name else f"train/{name}", value, self.state.step)

    def training(self, means: dict[str, float]) -> None:
        """Scalars since the last call, and the progress: a bar, or a line a minute where no terminal is."""
        state, step = self.state, self.state.step
        samples = (step - self.last_step) * state.recipe.batch_size
        rate = samples / max(state.elapsed_s - self.last_s, 1e-9)
        self.last_step, self.last_s = step, state.elapsed_s
        self.scalars(means | {"learning_rate": state.learning_rate(), "samples_per_s": rate})
        total = max(step, round(step / state.share()))  # fewer than recipe.steps where the clock ends the run
        if not self.bar.disable:
            self.bar.total = total
            self.bar.set_postfix_str(f"loss {means['loss']:.4g}", refresh=False)
            self.bar.update(step - self.bar.n)
        elif state.elapsed_s - self.line_s >= 60:
            self.line_s = state.elapsed_s
            left = tqdm.format_interval(state.elapsed_s / step * (total - step))
            print(f"step {step} of {total}, loss {means['loss']:.4g}, {left} left", file=sys.stderr)

    def samples(self, samples: dict[str, Any]) -> None:
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


@contextlib.contextmanager
def _stop_signals(processes: int) -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM, so that the step at hand is finished; a second Ctrl-C interrupts at once
    (not under torchrun, which sends each signal once more)."""
    caught: list[int] = []

    def handle(number: int, frame: object) -> None:
        if caught and processes == 1:
            raise KeyboardInterrupt
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _save_folder(stage: Stage, folder: Path) -> None:
    """The model beside its place, then into it: whoever reads `folder` meanwhile finds a whole one."""
    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir()
    stage.save(new)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _as_json(recipe: Recipe) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(recipe), default=str))
