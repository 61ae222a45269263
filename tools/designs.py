"""What a transfer model should be made of: designs and training variations, each trained alike at a small scale.

    python tools/designs.py [--steps 700] DATA OUT [NAME...]

DATA is a mel store with recordings by several libraries, some of them recorded notes (`timbrel data synth --samples`).
The recorded notes are the unheard library: nothing but the row "recorded-notes" is trained on them. Each NAME (default:
all) is trained for the same steps of the same batches, and measured on the validation split, whose scores no training
hears, to the four instruments of the benchmark: LSD, MFCC distance, detail and instrument accuracy as there; notes are
the F1 against those that a transcriber finds in the true target. Designs that train on the same data do so at once,
batch by batch. OUT/NAME.json, OUT/designs.csv and OUT/variations.csv are written; what is there is not made again, what
was stopped goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbrel.audio.inversion import invert_mel
from timbrel.audio.mel import MelConfig, band_centres_hz
from timbrel.data.augmentation import Augmentation
from timbrel.data.datasets import Windows
from timbrel.data.store import MelStore
from timbrel.diffusion.samplers import ddim, seeded_noise
from timbrel.diffusion.schedules import cosine_schedule, inference_timesteps
from timbrel.experiments.benchmark.measures import classifier
from timbrel.experiments.page import Table
from timbrel.files import write_text
from timbrel.metrics import notes, spectral
from timbrel.metrics.instrument import evaluate as judge
from timbrel.metrics.summary import mean_interval
from timbrel.models.autoencoder import AutoencoderConfig, MelAutoencoder
from timbrel.models.denoiser import Condition, DenoiserConfig, TransferDenoiser
from timbrel.models.style import StyleConfig, StyleEncoder
from timbrel.training.loop import fit
from timbrel.training.recipes import Recipe
from timbrel.training.shared import MOMENT_WINDOWS, latent_moments
from timbrel.training.stage import Stage

TARGETS = ("piano", "guitar", "harp", "violin")
RECORDED = ("tonejs", "salamander")
CLIPS = 40
TIMESTEPS = 1000
FRAMES, STYLE_FRAMES = 128, 160  # of training: half the shipped model's; both are measured with 256 and 320
WIDTH, STYLE_WIDTH, DILATIONS = 256, 128, (1, 2, 4, 1)
AUGMENTATION = replace(Augmentation(), blend_probability=0.0)  # blends came when most rows had been measured


@dataclass(frozen=True)
class Design:
    """One row of the table."""

    about: str = "the base: convolutions along time"
    objective: str = "sample"  # what the network predicts: sample, v, flow
    pure_noise_share: float = 0.85  # of training at the last timestep; 1 is a plain regression
    sampling: tuple[int, ...] = (1,)  # steps to measure with
    channels: int = 8  # of 16 principal components of a patch
    layout: str = "time"  # or "picture": convolutions over bands and time; "both": those after these
    content: str = "latents"  # or "pitch": how strong each pitch's partials stand out
    style: str = "tokens"  # or "pooled", "label", "none"
    loss: str = "l1+differences"  # or "l1", "l2"
    augmentation: Augmentation | None = AUGMENTATION
    libraries: tuple[str, ...] = ("fluidr3", "musescore", "timgm6mb", "csound", "opl3", "virtual")


DESIGNS = {
    "base": Design(),
    "regression": Design("a plain regression: no diffusion at all", pure_noise_share=1.0),
    "diffusion": Design("all noise levels alike, predicts the sample", pure_noise_share=0.0, sampling=(1, 4, 20)),
    "diffusion-v": Design("the same, predicts v", "v", 0.0, (1, 4, 20)),
    "flow": Design("flow matching, Euler steps", "flow", 0.0, (1, 4, 20)),
    "latents-4": Design("4 latent channels", channels=4),
    "latents-16": Design("16 latent channels: nothing lost", channels=16),
    "picture": Design("2-D convolutions over the mel picture's latents", layout="picture"),
    "both": Design("2-D convolutions after those along time, as the shipped model", layout="both"),
    "pitch-content": Design("the source as pitches' strengths, not as latents", content="pitch"),
    "style-pooled": Design("style as one vector, the tokens' mean", style="pooled"),
    "style-label": Design("style as a learned vector an instrument", style="label"),
    "style-none": Design("no style at all", style="none"),
    "loss-l1": Design("absolute error alone", loss="l1"),
    "loss-l2": Design("squared error alone", loss="l2"),
}
VARIATIONS = {
    "no-augmentation": Design("no augmentation", augmentation=None),
    "no-warp": Design("without pitch warps", augmentation=replace(AUGMENTATION, warp_probability=0.0)),
    "no-equaliser": Design("without equalisers", augmentation=replace(AUGMENTATION, equaliser_probability=0.0)),
    "no-rooms": Design(
        "without rooms and noise", augmentation=replace(AUGMENTATION, room_probability=0.0, noise_probability=0.0)
    ),
    "no-slow-attacks": Design(
        "without slow attacks, vibrato and drift",
        augmentation=replace(
            AUGMENTATION, attack_probability=0.0, shared_attack_probability=0.0, intonation_probability=0.0
        ),
    ),
    "blends": Design("with blends of two recordings", augmentation=replace(AUGMENTATION, blend_probability=0.3)),
    "no-invented": Design("without invented instruments", libraries=Design.libraries[:-1]),
    "one-family": Design(
        "one family of libraries: FluidR3, MuseScore (the other three are unheard then)",
        libraries=("fluidr3", "musescore"),
    ),
    "recorded-notes": Design(
        "with recorded notes too (which are heard then)", libraries=(*Design.libraries, *RECORDED)
    ),
}


class PitchFeatures(nn.Module):
    """Mel in dB [batch, 1, n_mels, frames] -> [batch, 4 * pitches, frames / 4]: how far the partials of each pitch
    (MIDI 40 to 100) stand out of their surroundings, which says little about the timbre."""

    filters: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        centres = band_centres_hz(config)
        f0 = 440 * 2 ** ((torch.arange(40, 101) - 69) / 12)
        partials = f0[:, None] * torch.arange(1, 9)
        at = torch.searchsorted(centres, partials.clamp_max(float(centres[-2])))
        weight = 0.8 ** torch.arange(8) * (partials < centres[-2])
        self.channels = 4 * len(f0)
        self.register_buffer("filters", torch.zeros(len(f0), config.n_mels).scatter_add_(1, at, weight.float()) / 4)

    def forward(self, mel: Tensor) -> Tensor:
        around = F.avg_pool2d(mel, (31, 1), 1, (15, 0), count_include_pad=False)
        standing_out = (mel - around).clamp_min(0) * (mel > -80) / 15
        pitches = self.filters @ standing_out[:, 0]
        return pitches.unflatten(2, (-1, 4)).transpose(2, 3).flatten(1, 2)


class VelocityDenoiser(TransferDenoiser):
    """Predicts p noise - q x_0 from x_t = a x_0 + b noise: v (p = a, q = b), or flow matching's velocity (p = q = 1,
    a = 1 - b). The network adds to the best linear estimate, at the scale of its error, as `timbrel.models.unet`: the
    noise of 512 numbers does not pass through its 256."""

    flow = False

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        abar = self.alphas_cumprod[timesteps][:, None, None, None]
        a = abar.sqrt()
        b = 1 - a if self.flow else (1 - abar).sqrt()
        p, q = (torch.ones_like(a), torch.ones_like(a)) if self.flow else (a, b)
        variance = self.std.square()
        centred, spread = noisy_latents - a * self.mean, (a.square() * variance + b.square()).sqrt()
        linear = (p * b - q * a * variance) / spread.square() * centred - q * self.mean
        x = torch.cat([centred / spread, (condition.content - self.mean) / self.std], dim=1)
        output = self.network(x, timesteps, condition)
        return linear + (p * a + q * b) * self.std / spread * output


class PictureDenoiser(nn.Module):
    """Residual 3 x 3 convolutions over latents [batch, c, h, w], dilated, scaled and shifted by noise level and style
    for each channel and band; at the last timestep, where it is trained and used, the noise does not enter."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: DenoiserConfig, width: int = 32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.latent_channels, config.latent_height, 1))
        self.register_buffer("std", torch.ones(config.latent_channels, config.latent_height, 1))
        self.width, self.height = width, config.latent_height
        self.enter = nn.Conv2d(config.latent_channels, width, 3, padding=1)
        self.style = nn.Sequential(nn.Linear(config.token_width, 64), nn.GELU())
        self.modulate = nn.ModuleList(nn.Linear(64, 2 * width * self.height) for _ in range(6))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in (1, 2, 4, 8, 2, 1))
        self.mixes = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(6))
        self.bands = nn.ModuleList(nn.Conv1d(self.height, self.height, 1) for _ in range(6))
        self.leave = nn.Conv2d(width, config.latent_channels, 1)

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        style = self.style(condition.tokens.mean(dim=1))
        content = (condition.content - self.mean) / self.std
        x = self.enter(content)
        for modulate, conv, mix, bands in zip(self.modulate, self.convs, self.mixes, self.bands, strict=True):
            scale, shift = modulate(style).unflatten(1, (2, self.width, self.height, 1)).unbind(1)
            y = F.layer_norm(x.movedim(1, -1), (self.width,)).movedim(-1, 1) * (1 + scale) + shift
            y = y + bands(y.transpose(1, 2).flatten(2)).unflatten(2, (self.width, -1)).transpose(1, 2)
            x = x + mix(F.gelu(conv(y)))
        return (self.mean + self.std * self.leave(x)).float()


class Trial:
    """One design's networks, and how they are trained and used."""

    def __init__(
        self, design: Design, mel: MelConfig, codec: MelAutoencoder, moments: tuple[Tensor, Tensor], labels: int
    ) -> None:
        self.design, self.mel, self.codec = design, mel, codec
        torch.manual_seed(0)
        mean, std = moments
        self.schedule = cosine_schedule(
            TIMESTEPS, prediction_type="v" if design.objective == "v" else "sample", zero_terminal_snr=True
        )
        self.shape = (design.channels, mel.n_mels // 4)
        config = DenoiserConfig(
            latent_channels=self.shape[0],
            latent_height=self.shape[1],
            token_width=STYLE_WIDTH,
            width=WIDTH,
            dilations=DILATIONS,
            picture_dilations=(1, 2, 4, 1) if design.layout == "both" else (),
        )
        abar = self.schedule.alphas_cumprod
        if design.objective == "flow":  # x_t = (1 - t) x_0 + t noise; the mean enters with 1 - t
            abar = (1 - torch.arange(1, TIMESTEPS + 1).double() / TIMESTEPS).square()
        self.denoiser: Any
        if design.layout == "picture":
            self.denoiser = PictureDenoiser(config)
        else:
            self.denoiser = (TransferDenoiser if design.objective == "sample" else VelocityDenoiser)(config, abar)
            self.denoiser.unknown.copy_(0.4 * std)
            self.denoiser.flow = design.objective == "flow"
        style = StyleConfig(width=STYLE_WIDTH, latent_channels=self.shape[0], latent_height=self.shape[1])
        self.style = StyleEncoder(style)
        for module in (self.denoiser, self.style):
            module.mean.copy_(mean)
            module.std.copy_(std)
        self.by_label = nn.Embedding(labels, STYLE_WIDTH)
        self.pitch = PitchFeatures(mel)
        self.project = nn.Conv1d(self.pitch.channels, self.shape[0] * self.shape[1], 1)
        self.modules = nn.ModuleDict({"denoiser": self.denoiser, "style": self.style})
        if design.style == "label":
            self.modules["by_label"] = self.by_label
        if design.content == "pitch":
            self.modules["project"] = self.project

    def condition(self, batch: dict[str, Tensor], latents: dict[str, Tensor]) -> Condition:
        if self.design.style == "label":
            tokens = self.by_label(batch["label"])[:, None]
        else:
            tokens = self.style(latents["style"])
        if self.design.style == "pooled":
            tokens = tokens.mean(dim=1, keepdim=True)
        elif self.design.style == "none":
            tokens = torch.zeros_like(tokens[:, :1])
        content = latents["content"]
        if self.design.content == "pitch":
            features = self.project(self.pitch(batch["content"]))
            content = self.denoiser.mean + self.denoiser.std * features.unflatten(1, self.shape).float()
        return Condition(content, tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))

    def loss(self, batch: dict[str, Tensor], latents: dict[str, Tensor]) -> Tensor:
        target = latents["target"]
        noise = batch["noise"][:, : self.design.channels]
        t = torch.where(batch["chance"] < self.design.pure_noise_share, TIMESTEPS - 1, batch["timesteps"])
        if self.design.objective == "flow":
            share = ((t + 1) / TIMESTEPS).float()[:, None, None, None]
            noisy, objective = (1 - share) * target + share * noise, noise - target
        else:
            noisy, objective = self.schedule.add_noise(target, noise, t), self.schedule.target(target, noise, t)
        predicted = self.denoiser(noisy, t, self.condition(batch, latents))
        with torch.autocast("cpu", enabled=False):
            error = self.codec.decode_difference(predicted.float() - objective)
            if self.design.loss == "l2":
                return error.square().mean() / 150
            value = error.abs().mean()
            if self.design.loss == "l1+differences":
                value = value + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        return value / 10

    @torch.no_grad()
    def sample(self, batch: dict[str, Tensor], steps: int) -> Tensor:
        """Mels of a batch after so many steps."""
        condition = self.condition(batch, encoded(self.codec, batch))
        x = seeded_noise((*self.shape, batch["content"].shape[-1] // 4), range(len(batch["content"])))

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return self.denoiser(x, t, condition)

        if self.design.objective == "flow":
            for i in range(steps, 0, -1):
                x = x - denoise(x, torch.full((len(x),), round(i / steps * TIMESTEPS) - 1)) / steps
        else:
            x = ddim(denoise, x, self.schedule, inference_timesteps(self.schedule, steps))
        return self.codec.decode(x)


def principal_components(channels: int, clips: Tensor) -> MelAutoencoder:
    torch.manual_seed(0)
    codec = MelAutoencoder(AutoencoderConfig(latent_channels=channels, num_blocks=1, width=8)).eval()
    codec.requires_grad_(False).fit_basis(clips)
    return codec


def encoded(codec: MelAutoencoder, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: codec.encode(batch[name]) for name in ("target", "content", "style")}


class TrialStage(Stage):
    """Trains designs that see the same data, batch by batch. Their losses are summed; no gradient of one reaches
    another, and clipping, which would couple them, is off."""

    def __init__(self, designs: dict[str, Design], recipe: Recipe, data: Path, labels: list[str]) -> None:
        self.design = next(iter(designs.values()))
        store = MelStore(data)
        store.entries = [e for e in store.entries if e.library in self.design.libraries]
        self.train = Windows(store, "train", recipe.frames, STYLE_FRAMES)
        self.train.labels = labels
        clips = self.train.single(np.random.default_rng(0), 512)
        sizes = {design.channels for design in designs.values()}
        self.codecs = {channels: principal_components(channels, clips) for channels in sizes}
        mel = self.train.single(np.random.default_rng(0), MOMENT_WINDOWS)
        moments = {channels: latent_moments(codec, mel) for channels, codec in self.codecs.items()}
        self.trials = {
            name: Trial(design, store.config, self.codecs[design.channels], moments[design.channels], len(labels))
            for name, design in designs.items()
        }
        modules: dict[str, nn.Module] = {name: trial.modules for name, trial in self.trials.items()}
        super().__init__(recipe, modules, identity={"data": str(data.resolve()), "designs": repr(designs)})

    def batch(self, step: int) -> dict[str, Tensor]:
        rng, size = np.random.default_rng((0, step)), self.recipe.batch_size
        batch = self.train.transfer(rng, size, self.design.augmentation)
        shape = (size, 16, self.train.store.config.n_mels // 4, self.recipe.frames // 4)
        return batch | {
            "chance": torch.from_numpy(rng.random(size)),
            "timesteps": torch.from_numpy(rng.integers(0, TIMESTEPS, size)),
            "noise": torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)),
        }

    def loss(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        with torch.autocast("cpu", enabled=False):
            latents = {channels: encoded(codec, batch) for channels, codec in self.codecs.items()}
        losses = {name: trial.loss(batch, latents[trial.design.channels]) for name, trial in self.trials.items()}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def validate(self) -> dict[str, float]:
        return {"nothing": 0.0}

    def save(self, folder: Path) -> None:
        (folder / "README.md").write_text("measured, not kept\n")


Truth = list[tuple[np.ndarray, np.ndarray]]  # of each clip the waveform, and the notes heard in it
Test = tuple[dict[str, Tensor], Truth]


def held_out(data: Path, labels: list[str], recorded: bool) -> dict[str, Tensor]:
    """Clips of validation, whose target is played by a library that training heard or by recorded notes."""
    store = MelStore(data)
    played_by = {*Design.libraries, *RECORDED} - {"virtual"}
    store.entries = [e for e in store.entries if e.library in played_by and not e.degraded]
    windows = Windows(store, "validation", 256, 320)
    windows.labels = labels
    windows.targets = [e for e in windows.targets if e.label in TARGETS and (e.library in RECORDED) == recorded]
    if not windows.targets:
        sys.exit(f"{data} has none of {', '.join(TARGETS)} by {'recorded notes' if recorded else 'soundfonts'}")
    batch = windows.transfer(np.random.default_rng(0), 4 * CLIPS, None)
    sounding = [(batch[name].amax(dim=2) > -60).float().mean(dim=(1, 2)) > 0.6 for name in ("content", "target")]
    chosen = torch.stack(sounding).all(dim=0).nonzero()[:CLIPS, 0]
    if len(chosen) < CLIPS:
        sys.exit(f"{data} gave {len(chosen)} clips with sound in them; expected {CLIPS}: make more of it")
    return {name: value[chosen] for name, value in batch.items()}


def waveforms(mels: Tensor, config: MelConfig) -> list[np.ndarray]:
    return [spectral.prepare(invert_mel(mel[None], config)[0, 0].numpy(), config.sample_rate) for mel in mels]


def measure(test: Test, made: Tensor, config: MelConfig, labels: list[str]) -> dict[str, list[float]]:
    """Means over the clips, with the ends of their 95 % intervals."""
    batch, truth = test
    rows = []
    for k, ((true, scored), result) in enumerate(zip(truth, waveforms(made, config), strict=True)):
        row = spectral.evaluate(true, result) | judge(classifier(), labels[batch["label"][k]], result)
        row["mel_db"] = float((made[k] - batch["target"][k]).abs().mean())
        rows.append(row | {"notes": notes.note_f1(scored, notes.transcribe(result))})
    return {name: list(mean_interval([row[name] for row in rows])[:3]) for name in rows[0]}


def run(
    designs: dict[str, Design], steps: int, data: Path, out: Path, labels: list[str], test: dict[str, Test]
) -> None:
    """Trains designs that share their data, measures them and writes a file for each."""
    first = next(iter(designs))
    recipe = Recipe(steps=steps, frames=FRAMES, learning_rate=1e-3, warmup_steps=100, clip_norm=1e9, num_threads=1)
    stage = TrialStage(designs, recipe, data, labels)
    if not fit(stage, out / "runs" / first):
        sys.exit(130)
    for name, trial in stage.trials.items():
        trial.modules.eval()
        if (out / f"{name}.json").exists():
            continue
        size = sum(p.numel() for p in trial.modules.parameters())
        figures: dict[str, Any] = {
            "design": dataclasses.asdict(trial.design),
            "train_steps": recipe.steps,
            "parameters": size,
        }
        for count in trial.design.sampling:
            for where, (batch, true) in test.items():
                began = time.process_time()
                made = trial.sample(batch, count)
                figures[f"sample_cpu_ms_{count}"] = 1000 * (time.process_time() - began) / len(made)
                figures[f"{where}, {count} steps"] = measure((batch, true), made, trial.mel, labels)
        write_text(out / f"{name}.json", json.dumps(figures, indent=1) + "\n")
        print(name, figures[f"unheard, {trial.design.sampling[0]} steps"], flush=True)


DIGITS = {"mel_db": 1, "lsd_db": 1, "mfcc_distance": 0, "detail": 2, "instrument_accuracy": 2, "notes": 2}
HEADINGS = ("mel dB", "LSD dB", "MFCC", "detail", "instr.", "notes")


def table(names: list[str], out: Path) -> Table:
    """What is measured of these designs, a line for each and its numbers of steps."""
    rows: dict[str, Any] = {"nothing": {"design": {"about": "nothing done", "sampling": [0]}, "sample_cpu_ms_0": 0.0}}
    for where in ("heard", "unheard"):
        rows["nothing"][f"{where}, 0 steps"] = json.loads((out / f"nothing-{where}.json").read_text())
    rows |= {name: json.loads((out / f"{name}.json").read_text()) for name in names}
    lines = [_line(row, steps) for row in rows.values() for steps in row["design"]["sampling"]]
    return Table(["", "steps", "CPU ms", *(f"{h}, {where}" for where in ("heard", "unheard") for h in HEADINGS)], lines)


def _line(row: dict[str, Any], steps: int) -> list[str]:
    measured = [row[f"{where}, {steps} steps"] for where in ("heard", "unheard")]
    figures = [f"{means[key][0]:.{places}f}" for means in measured for key, places in DIGITS.items()]
    return [row["design"]["about"], str(steps), f"{row[f'sample_cpu_ms_{steps}']:.0f}", *figures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT", help="another folder for another number of steps")
    parser.add_argument("--steps", type=int, default=700, help="of training (default: 700)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a design or variation (default: all)")
    args = parser.parse_args()
    data, out, names = args.data, args.out, args.names
    out.mkdir(parents=True, exist_ok=True)
    everything = DESIGNS | VARIATIONS
    if unknown := set(names) - set(everything):
        parser.error(f"{', '.join(unknown)}: expected names of {', '.join(everything)}")
    mel = MelStore(data).config
    labels = sorted({e.label for e in MelStore(data).entries} | set(TARGETS))
    chosen = list(names or everything)
    left = [name for name in chosen if not (out / f"{name}.json").exists()]
    test: dict[str, Test] = {}
    for where in ("heard", "unheard") if left else ():
        batch = held_out(data, labels, where == "unheard")
        test[where] = batch, [(w, notes.transcribe(w)) for w in waveforms(batch["target"], mel)]
        if not (out / f"nothing-{where}.json").exists():
            nothing = measure(test[where], batch["content"], mel, labels)
            write_text(out / f"nothing-{where}.json", json.dumps(nothing) + "\n")
    while left:  # with what is done already of its group: they were trained in one run
        group = [name for name in chosen if shared(everything[name]) == shared(everything[left[0]])]
        run({name: everything[name] for name in group}, args.steps, data, out, labels, test)
        left = [name for name in left if name not in group]
    for kind, rows in (("designs", [*DESIGNS]), ("variations", ["base", *VARIATIONS])):
        made = table([name for name in rows if (out / f"{name}.json").exists()], out)
        write_text(out / f"{kind}.csv", made.csv())
        print(f"{made.markdown()}\n")


def shared(design: Design) -> tuple[Augmentation | None, tuple[str, ...]]:
    return design.augmentation, design.libraries


if __name__ == "__main__":
    main()
