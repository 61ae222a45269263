"""A toy stage through the loop. Run as a script, this file is the process that gets killed or multiplied."""

import dataclasses
import importlib
import json
import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from torch import nn

from timbrel.errors import InputError, ModelError, TimbrelError
from timbrel.training import loop, recipes
from timbrel.training.loop import fit
from timbrel.training.stage import Stage


@dataclasses.dataclass(frozen=True)
class Recipe(recipes.Recipe):
    steps: int = 30
    batch_size: int = 8
    learning_rate: float = 1e-1
    warmup_steps: int = 3
    min_learning_rate_ratio: float = 0.1
    ema_decay: float = 0.9
    precision: Literal["bf16", "fp32"] = "fp32"
    checkpoint_every_s: float = 0.0
    validate_every: int = 10
    log_every: int = 4
    num_threads: int | None = 1
    num_workers: int = 1


class Toy(Stage):
    """A line fit through noisy points, with dropout: what is random outside the batch must resume as well."""

    def __init__(self, recipe, *, dropout=0.0, at=None):
        torch.manual_seed(7)
        super().__init__(recipe, {"net": nn.Sequential(nn.Dropout(dropout), nn.Linear(3, 4), nn.Linear(4, 1))})
        self.at = at or {}

    def batch(self, step):
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_000 + step)
        x = torch.randn(self.recipe.batch_size, 3, generator=generator)
        return {"x": x, "y": x @ torch.tensor([[1.0], [-2.0], [0.5]])}

    def loss(self, batch, step):
        self.at.get(step, lambda: None)()
        loss = (self.modules["net"](batch["x"]) - batch["y"]).abs().mean()
        return {"loss": loss, "double": 2 * loss}

    def validate(self):
        assert not self.modules["net"].training
        return {"loss": float(self.loss(self.batch(10_000), -1)["loss"])}

    def save(self, folder):
        save_file(self.modules["net"].state_dict(), folder / "net.safetensors")


BETWEEN = (partial(nn.BatchNorm1d, 8), partial(nn.Dropout, 0.1))


class Adversarial(Toy):
    """The toy against a discriminator, with dropout, of true and generated numbers."""

    def __init__(self, recipe, *, between=(nn.Tanh,), **options):
        super().__init__(recipe, **options)
        critic = nn.Sequential(nn.Linear(4, 8), *(part() for part in between), nn.Linear(8, 1))
        self.adversaries, self.adversary_rate = {"critic": critic}, 0.5

    def judge(self, batch, y):
        return self.adversaries["critic"](torch.cat([batch["x"], y], dim=1))

    def loss(self, batch, step):
        values = super().loss(batch, step)
        generated = self.modules["net"](batch["x"])
        self.generated = generated.detach()
        fooled = (self.judge(batch, generated) - 1).square().mean()
        return {"loss": values["loss"] + 0.1 * fooled, "fooled": fooled}

    def discriminator_loss(self, batch, step):
        real = (self.judge(batch, batch["y"]) - 1).square().mean()
        return {"loss": real + self.judge(batch, self.generated).square().mean(), "real": real}


def weights(out):
    return {k: v for k, v in load_file(out / "checkpoint.safetensors").items() if not k.startswith("step/")}


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    assert fit(Toy(Recipe(), dropout=0.1), out)
    return out


@pytest.fixture(scope="module")
def in_processes(tmp_path_factory):
    """Runs that were killed, `killed/` twice, and runs in two processes: all from one start of torch."""
    out = tmp_path_factory.mktemp("in_processes")
    command = [sys.executable, __file__, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["-9", "-9", "-9", *"0000"], done.stderr
    return out


def test_loss_falls_and_everything_is_written(undisturbed):
    records = metrics(undisturbed)
    validation = [r["validation/loss"] for r in records if "validation/loss" in r]
    assert len(validation) == 3
    train = [r for r in records if "loss" in r]
    assert validation[-1] < 0.4 * train[0]["loss"]
    assert [r["step"] for r in train] == list(range(4, 30, 4))
    assert train[0]["double"] == pytest.approx(2 * train[0]["loss"])
    assert train[0]["learning_rate"] > train[-1]["learning_rate"] > 0.01
    assert list((undisturbed / "tensorboard").glob("events*"))


def test_a_batch_in_parts_is_the_same_step(tmp_path):
    for parts in (1, 4):
        assert fit(Toy(Recipe(steps=6, accumulation=parts)), tmp_path / str(parts))
    whole, parted = (weights(tmp_path / parts) for parts in ("1", "4"))
    for name, value in whole.items():
        torch.testing.assert_close(parted[name], value, msg=name)
    for one, other in zip(metrics(tmp_path / "1"), metrics(tmp_path / "4"), strict=True):
        assert one.get("double") == pytest.approx(other.get("double"))
    with pytest.raises(InputError, match="1 processes with accumulation 3 cannot share: give a multiple of 3"):
        fit(Toy(Recipe(accumulation=3)), tmp_path / "3")
    with pytest.raises(InputError, match="expected 1 with discriminators"):
        fit(Adversarial(Recipe(accumulation=2)), tmp_path / "2")


class Watched(Toy):
    """Its validations say what they are told to, the last one again and again."""

    def __init__(self, recipe, figures):
        super().__init__(recipe)
        self.figures = figures

    def validate(self):
        super().validate()
        return {"loss": self.figures.pop(0) if len(self.figures) > 1 else self.figures[0]}


def test_the_best_validation_is_kept(tmp_path):
    recipe = Recipe(steps=30, keep_best=True)
    assert fit(Watched(recipe, [3.0, 1.0, 2.0]), tmp_path / "all")
    assert fit(Watched(dataclasses.replace(recipe, max_minutes=None), [3.0, 1.0]), tmp_path / "again")
    assert fit(Watched(Recipe(steps=30), [3.0, 1.0, 2.0]), tmp_path / "last")
    best, again, last = (load_file(tmp_path / run / "model" / "net.safetensors") for run in ("all", "again", "last"))
    assert torch.equal(best["1.weight"], again["1.weight"])  # of step 20
    assert not torch.equal(best["1.weight"], last["1.weight"])  # of step 30


def test_without_a_figure_of_a_validation_the_last_is_kept_and_it_is_said(tmp_path, capsys):
    recipe = Recipe(steps=30, keep_best=True)
    assert fit(Watched(recipe, [math.nan]), tmp_path / "best")
    assert "no validation gave a figure" in capsys.readouterr().err
    assert fit(Watched(Recipe(steps=30), [math.nan]), tmp_path / "last")
    assert "no validation" not in capsys.readouterr().err
    best, last = (load_file(tmp_path / run / "model" / "net.safetensors") for run in ("best", "last"))
    assert torch.equal(best["1.weight"], last["1.weight"])


def test_a_ratio_of_one_keeps_the_rate(tmp_path):
    assert fit(Toy(Recipe(min_learning_rate_ratio=1.0, warmup_steps=0)), tmp_path)
    assert {r["learning_rate"] for r in metrics(tmp_path) if "learning_rate" in r} == {0.1}


def test_model_folder_has_the_ema_weights(undisturbed):
    state, model = weights(undisturbed), load_file(undisturbed / "model" / "net.safetensors")
    for name, tensor in model.items():
        assert torch.equal(tensor, state[f"ema/net.{name}"])
        assert not torch.equal(tensor, state[f"weights/net.{name}"])


def test_killed_in_a_step_and_in_a_write_resumes_to_the_same_weights(undisturbed, in_processes):
    out = in_processes / "killed"
    assert 2 < len(metrics(out)) < len(metrics(undisturbed))
    assert list(out.glob(".timbrel-*"))
    assert fit(Toy(Recipe(), dropout=0.1), out)
    assert not list(out.glob(".timbrel-*"))
    expected, found = weights(undisturbed), weights(out)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    times = ("elapsed_s", "samples_per_s")
    same = [[{k: v for k, v in r.items() if k not in times} for r in metrics(o)] for o in (out, undisturbed)]
    assert same[0] == same[1]


@pytest.fixture(scope="module")
def undisturbed_adversarial(tmp_path_factory):
    out = tmp_path_factory.mktemp("adversarial")
    assert fit(Adversarial(Recipe(), between=BETWEEN, dropout=0.1), out)
    return out


def test_adversaries_and_their_optimiser_resume_exactly(undisturbed_adversarial, in_processes):
    out = in_processes / "killed_adversarial"
    assert 2 < len(metrics(out)) < len(metrics(undisturbed_adversarial))
    assert fit(Adversarial(Recipe(), between=BETWEEN, dropout=0.1), out)
    expected, found = weights(undisturbed_adversarial), weights(out)
    assert {"adversary/weights/critic.0.weight", "adversary/exp_avg/critic.0.weight"} <= found.keys()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_adversaries_have_no_ema_and_are_logged(undisturbed_adversarial):
    assert not [name for name in weights(undisturbed_adversarial) if name.startswith("adversary/ema")]
    assert load_file(undisturbed_adversarial / "model" / "net.safetensors").keys() == {
        "1.weight", "1.bias", "2.weight", "2.bias",
    }  # fmt: skip
    train = [r for r in metrics(undisturbed_adversarial) if "loss" in r]
    logged = {"discriminator/loss", "discriminator/real", "discriminator/grad_norm", "fooled", "grad_norm"}
    assert all(logged <= record.keys() for record in train)


def test_the_discriminator_learns_from_its_own_loss_alone(tmp_path):
    """By a hand-written loop over the same batches: the generator first, then the discriminator as it was."""
    recipe = Recipe(steps=4, warmup_steps=0, min_learning_rate_ratio=1.0, clip_norm=1e9)
    stage, expected = Adversarial(recipe), Adversarial(recipe)
    fit(stage, tmp_path)
    net, critic = expected.modules["net"], expected.adversaries["critic"]
    nets = torch.optim.AdamW(net.parameters(), lr=0.1, betas=(0.9, 0.99))
    critics = torch.optim.AdamW(critic.parameters(), lr=0.05, betas=(0.8, 0.99))
    for optimizer, module in ((nets, net), (critics, critic)):
        biases = [p for p in module.parameters() if p.ndim == 1]
        optimizer.param_groups[0]["params"] = [p for p in module.parameters() if p.ndim > 1]
        optimizer.add_param_group({"params": biases, "weight_decay": 0.0})
    for step in range(4):
        batch = expected.batch(step)
        net.zero_grad()
        expected.loss(batch, step)["loss"].backward()
        nets.step()
        critic.zero_grad()  # the generator's loss left gradients here
        expected.discriminator_loss(batch, step)["loss"].backward()
        critics.step()
    torch.testing.assert_close(stage.modules["net"].state_dict(), net.state_dict())
    torch.testing.assert_close(stage.adversaries["critic"].state_dict(), critic.state_dict())


def test_a_discriminator_that_diverges_stops_the_run(tmp_path):
    stage = Adversarial(Recipe())
    stage.discriminator_loss = lambda batch, step: {
        "loss": Adversarial.discriminator_loss(stage, batch, step)["loss"] * math.nan
    }
    with pytest.raises(TimbrelError, match="discriminator/loss became nan"):
        fit(stage, tmp_path)


def test_two_processes_give_the_one_process_result(in_processes, tmp_path):
    two = in_processes / "two"
    fit(Toy(Recipe()), tmp_path)
    expected = weights(tmp_path)
    for name, tensor in weights(two).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6, msg=name)
    assert metrics(two)[0]["loss"] == pytest.approx(metrics(tmp_path)[0]["loss"], rel=1e-4)


def test_two_processes_train_one_discriminator(in_processes, tmp_path):
    fit(Adversarial(Recipe()), tmp_path)
    expected = weights(tmp_path)
    for name, tensor in weights(in_processes / "two_adversarial").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5, msg=name)


def test_interrupt_writes_a_checkpoint_and_the_next_call_finishes(undisturbed, tmp_path):
    recipe = Recipe(checkpoint_every_s=1e9)
    interrupted = Toy(recipe, dropout=0.1, at={11: lambda: os.kill(os.getpid(), signal.SIGINT)})
    assert not fit(interrupted, tmp_path)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (tmp_path / "model" / "net.safetensors").exists()
    assert fit(Toy(recipe, dropout=0.1), tmp_path)
    expected = weights(undisturbed)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(tmp_path).items())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_keep_the_step_and_then_take_their_course(number, tmp_path, monkeypatch):
    raised = []
    before = signal.signal(number, lambda *_: raised.append(number))
    try:
        fit(Toy(Recipe(checkpoint_every_s=1e9), at={5: lambda: os.kill(os.getpid(), number)}), tmp_path)
        assert raised == [number]
        assert (tmp_path / "checkpoint.safetensors").exists()
        signal.signal(number, signal.SIG_IGN)
        ignored = fit(Toy(Recipe(), at={5: lambda: os.kill(os.getpid(), number)}), tmp_path / "ignored")
    finally:
        signal.signal(number, before)
    assert ignored == (number == signal.SIGHUP)  # under nohup it trains on


def test_a_signal_to_the_whole_group_twice_as_timeout_sends_it_keeps_the_step(tmp_path):
    """In a process group of its own, whose worker is alive and makes batches."""
    raised = []

    def stop():
        os.killpg(0, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    def train():
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, lambda *_: raised.append(1))
        fit(Toy(Recipe(checkpoint_every_s=1e9, num_workers=1), at={5: stop}), tmp_path)
        os._exit(40 + len(raised))  # 1 is what an exception gives

    process = multiprocessing.get_context("fork").Process(target=train)
    process.start()
    process.join(60)
    assert process.exitcode == 41
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_a_loss_that_is_not_finite_says_what_to_do_and_keeps_the_checkpoint(tmp_path):
    stage = Toy(Recipe())
    make = stage.batch
    stage.batch = lambda step: {k: v * (math.nan if step == 6 else 1) for k, v in make(step).items()}
    with pytest.raises(TimbrelError, match=r"loss became nan .* learning_rate below 0.1"):
        fit(stage, tmp_path)
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())


def test_changed_recipe_is_refused_by_field_but_more_steps_are_not(tmp_path):
    fit(Toy(Recipe(steps=4)), tmp_path)
    changed = Recipe(learning_rate=1.0, steps=5, log_every=1)
    with pytest.raises(InputError, match=r"learning_rate \(was 0.1, now 1.0\)") as caught:
        fit(Toy(changed), tmp_path)
    assert "steps" not in str(caught.value)
    assert fit(Toy(Recipe(steps=6, log_every=1)), tmp_path)
    assert [r["step"] for r in metrics(tmp_path) if "loss" in r] == [4, 5, 6]
    assert fit(Toy(changed), tmp_path, resume=False)
    assert [r["step"] for r in metrics(tmp_path) if "loss" in r] == [1, 2, 3, 4, 5]


def test_a_run_begun_by_an_older_version_goes_on(tmp_path):
    """Its settings, and settings within these, may lack what is new."""

    def toy(steps, **identity):
        stage = Toy(Recipe(steps=steps))
        stage.identity = identity
        return stage

    assert fit(toy(1, kinds={"a": 1}), tmp_path)
    assert fit(toy(2, kinds={"a": 1, "b": 2}, new=1), tmp_path)
    with pytest.raises(InputError, match=r"kinds \(was {'a': 1, 'b': 2}, now {'a': 2}\)"):
        fit(toy(3, kinds={"a": 2}), tmp_path)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    fit(Toy(Recipe(steps=1)), tmp_path)
    stage = Toy(Recipe())
    stage.modules = {"net": nn.Linear(3, 1)}
    with pytest.raises(ModelError, match="another model"):
        fit(stage, tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        fit(Toy(Recipe()), tmp_path)


@pytest.mark.parametrize("change", [{"precision": "fp8"}, {"steps": 0}, {"learning_rate": -1.0}, {"log_every": 0}])
def test_impossible_recipes_are_refused(tmp_path, change):
    (name, value) = next(iter(change.items()))
    with pytest.raises(InputError, match=f"{name} is '?{value}"):
        fit(Toy(Recipe(**change)), tmp_path)


def test_a_batch_that_fails_stops_the_run_with_its_error(tmp_path):
    stage = Toy(Recipe())
    stage.batch = lambda step: 1 / 0
    with pytest.raises(ZeroDivisionError):
        fit(stage, tmp_path)


def test_max_minutes_ends_the_run_and_the_cosine_with_it(tmp_path, monkeypatch):
    """On a clock that each step moves by a second."""
    recipe = Recipe(steps=10**6, max_minutes=0.5, checkpoint_every_s=1e9, validate_every=10**6, log_every=1)
    now = 1000.0

    def tick():
        nonlocal now
        now += 1

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now))
    assert fit(Toy(recipe, at=dict.fromkeys(range(1000), tick)), tmp_path)
    records = [r for r in metrics(tmp_path) if "loss" in r]
    assert [r["step"] for r in records] == [r["elapsed_s"] for r in records] == list(range(1, 31))
    rates = {r["step"]: r["learning_rate"] for r in records}
    assert rates[15] == pytest.approx(0.1 * (1 + 0.1) / 2)  # half of the minutes, and of the cosine, are behind
    assert rates[30] == pytest.approx(0.01)


def test_plateaus_of_validation_shrink_the_learning_rate_as_torchs_scheduler_does(tmp_path):
    figures = [3.0, 2.0, 2.0, 1.99999, 2.5, 1.0, *[1.5] * 6]
    recipe = Recipe(
        steps=12, warmup_steps=0, min_learning_rate_ratio=1.0, validate_every=1, log_every=1, plateau_patience=1,
        plateau_floor=0.02,
    )  # fmt: skip
    expected = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(expected, factor=0.5, patience=1, min_lr=0.02)
    for figure in figures:
        torchs.step(figure)

    def toy(**at):
        stage, left = Toy(recipe, **at), iter(figures)
        stage.validate = lambda: {"loss": next(left)}
        return stage

    assert fit(toy(), tmp_path / "whole")
    rates = [record["learning_rate"] for record in metrics(tmp_path / "whole") if "loss" in record]
    assert rates[0] == 0.1
    assert rates[-1] == 0.02 == torchs.get_last_lr()[0]
    assert sorted(set(rates), reverse=True) == [0.1, 0.05, 0.025, 0.02]
    del figures[7:]
    assert not fit(toy(at={6: lambda: os.kill(os.getpid(), signal.SIGINT)}), tmp_path / "parts")
    figures[:] = [1.5] * 5
    assert fit(toy(), tmp_path / "parts")
    assert rates == [r["learning_rate"] for r in metrics(tmp_path / "parts") if "loss" in r]


def test_samples_reach_tensorboard_and_progress_stderr(tmp_path, capsys):
    stage = Toy(Recipe(steps=4))
    figure = Figure(figsize=(1, 1))
    sound = (torch.zeros(100), 8000)
    stage.samples = lambda: {"a picture": torch.rand(4, 5), "a figure": figure, "a sound": sound}
    fit(stage, tmp_path)
    (events,) = (tmp_path / "tensorboard").glob("events*")
    for tag in (b"a picture", b"a figure", b"a sound", b"train/loss", b"validation/loss"):
        assert tag in events.read_bytes()
    assert "step 4 of 4, loss" in capsys.readouterr().err


def test_bf16_autocasts_the_loss_only(tmp_path):
    recipe = Recipe(precision="bf16", steps=2)
    stage = Toy(recipe)
    seen = []
    stage.modules["net"].get_submodule("1").register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    fit(stage, tmp_path)
    assert seen[0] == torch.bfloat16
    assert {t.dtype for t in weights(tmp_path).values()} == {torch.float32}


def in_children(*runs):
    """Each run in a process of its own, and how they ended; forked, as importing torch takes seconds."""
    children = []
    for run in runs:
        if (child := os.fork()) == 0:
            os._exit(0 if run() else 1)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def killed_in_a_step():
    return fit(Toy(Recipe(), dropout=0.1, at={9: kill}), out / "killed")


def killed_in_a_write():
    left = [1] * 4
    os.fsync = lambda number: left.pop() if left else kill()  # type: ignore[assignment]
    return fit(Toy(Recipe(), dropout=0.1), out / "killed")


def killed_adversarial():
    return fit(Adversarial(Recipe(), between=BETWEEN, dropout=0.1, at={17: kill}), out / "killed_adversarial")


def one_of_two(rank, stage, folder, port):
    """With what torchrun gives each of its processes."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    return fit(stage, folder) and torch.distributed.get_world_size() == 2


def in_two(stage, folder):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return in_children(*(partial(one_of_two, rank, stage, folder, port) for rank in range(2)))


if __name__ == "__main__":
    out = Path(sys.argv[1])
    for name in ("accelerate", "torch._dynamo", "torch.utils.tensorboard"):  # once, before the forks
        importlib.import_module(name)
    endings = in_children(killed_in_a_step) + in_children(killed_in_a_write) + in_children(killed_adversarial)
    print(*endings, *in_two(Toy(Recipe()), out / "two"), *in_two(Adversarial(Recipe()), out / "two_adversarial"))
