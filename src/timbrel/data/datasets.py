"""Windows of a mel store, drawn so that the same (seed, step) always gives the same batch."""

from __future__ import annotations

import functools
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from timbrel.audio.mel import MelConfig, band_centres_hz, hz_to_mel
from timbrel.data.augmentation import Augmentation
from timbrel.data.splits import refuse_held_out
from timbrel.data.store import Entry, MelStore, dequantise, quantise
from timbrel.errors import InputError


class Windows:
    """Draws windows of one split of a mel store.

    With aligned groups (`data synth`), `transfer` gives source and target from one group and the reference from
    another recording of the target's instrument and library. Without (`data prepare`), source and target are the
    same window (`own`) and the reference is another moment of the same recording.

    Raises:
        InputError: the store holds held-out material, or nothing long enough in this split.
    """

    def __init__(self, store: MelStore, split: str, frames: int, style_frames: int) -> None:
        self.store, self.frames, self.style_frames = store, frames, style_frames
        longest = max(frames, style_frames)
        self.entries = [e for e in store.entries if e.split == split and e.frames >= longest + 8]
        refuse_held_out(self.entries)
        if not self.entries:
            raise InputError(
                f"{store.folder} has no {split} recording of at least {longest + 8} frames "
                f"({longest / store.config.frame_rate:.1f} s); add longer recordings, or more of them"
            )
        self.targets = [e for e in self.entries if not e.degraded]
        self.labels = sorted({e.label for e in store.entries if e.library != "virtual"})  # of all splits
        self.groups: dict[str, list[Entry]] = defaultdict(list)
        self.voices: dict[tuple[str, str | None], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if entry.group is not None:
                self.groups[entry.group].append(entry)
            if not entry.degraded:
                self.voices[entry.label, entry.library].append(entry)
        self.alone = [e for e in self.targets if not self._others(e)]
        self._levels = functools.lru_cache(maxsize=None)(store.levels)

    def window(self, entry: Entry, start: int, frames: int) -> np.ndarray:
        """uint8 [frames, n_mels]; past the end it is silent."""
        levels = np.array(self._levels(entry)[start : start + frames])
        return np.pad(levels, ((0, frames - len(levels)), (0, 0)))

    def single(self, rng: np.random.Generator, batch_size: int) -> Tensor:
        """Mels of any recordings: float32 dB [batch, 1, n_mels, frames]."""
        picked = [self.entries[i] for i in rng.integers(len(self.entries), size=batch_size)]
        starts = [int(rng.integers(e.frames - self.frames + 1)) for e in picked]
        levels = np.stack([self.window(e, s, self.frames) for e, s in zip(picked, starts, strict=True)])
        return dequantise(levels, self.store.config.floor_db)[:, None]

    def transfer(
        self, rng: np.random.Generator, batch_size: int, augmentation: Augmentation | None
    ) -> dict[str, Tensor]:
        """`content`, `target` [batch, 1, n_mels, frames] and `style` [batch, 1, n_mels, style_frames], dB; `label`
        [batch], the target's place in `labels`, or -1 (unknown, or a blend); `own` [batch], whether the content is the
        target, for want of another recording of its score."""
        blends = 0.0 if augmentation is None else augmentation.blend_probability
        labels, own, rows = zip(*(self._triplet(rng, blends) for _ in range(batch_size)), strict=True)
        mels = [dequantise(np.stack(part), self.store.config.floor_db) for part in zip(*rows, strict=True)]
        if augmentation is not None:
            mels = augment(mels[0], mels[1], mels[2], augmentation, self.store.config, rng)
        drawn = dict(zip(("content", "target", "style"), (m[:, None] for m in mels), strict=True))
        places = {label: k for k, label in enumerate(self.labels)}
        return drawn | {"label": torch.tensor([places.get(label, -1) for label in labels]), "own": torch.tensor(own)}

    def _others(self, entry: Entry) -> list[Entry]:
        """The other recordings of its score."""
        return [e for e in self.groups.get(entry.group or "", []) if e.id != entry.id]

    def _triplet(
        self, rng: np.random.Generator, blends: float
    ) -> tuple[str, bool, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        target = self.targets[rng.integers(len(self.targets))]
        start = int(rng.integers(target.frames - self.frames + 1))
        others = self._others(target)
        content = others[rng.integers(len(others))] if others else target
        partners = [e for e in others if not e.degraded and e.id != content.id]
        partner = partners[rng.integers(len(partners))] if blends and partners and rng.random() < blends else None
        same_voice = [
            e for e in self.voices[target.label, target.library] if e.group != target.group or e.group is None
        ]
        style = target
        if partner is None and others and same_voice and rng.random() < 0.85:
            style = same_voice[rng.integers(len(same_voice))]
        style_start = int(rng.integers(style.frames - self.style_frames + 1))
        if style.id == target.id:  # another moment, as far from the window as the recording allows
            room = target.frames - self.style_frames
            style_start = min(
                (style_start, 0, room),
                key=lambda s: s + self.style_frames > start and s < start + self.frames,
            )
        at = ((start, self.frames), (style_start, self.style_frames))
        label, wanted = target.label, [self.window(e, *span) for e, span in zip((target, style), at, strict=True)]
        if partner is not None:
            label, share, layered = "", rng.uniform(0.25, 0.75), rng.random() < 0.5
            second = [self.window(partner, *span) for span in at]
            wanted = [self._blend(*both, share, layered) for both in zip(wanted, second, strict=True)]
        return label, not others, (self.window(content, start, self.frames), wanted[0], wanted[1])

    def _blend(self, first: np.ndarray, second: np.ndarray, share: float, layered: bool) -> np.ndarray:
        """One sound out of two of one score, uint8 [frames, n_mels]: both at once, up to 10 dB apart and no louder than
        the louder, or `layered` False, levels in between."""
        floor = self.store.config.floor_db
        a, b = dequantise(first, floor), dequantise(second, floor)
        if layered:
            weight = 1 / (1 + 10 ** (4 * share - 2))
            blend = 10 * torch.log10(weight * 10 ** (a / 10) + (1 - weight) * 10 ** (b / 10))
        else:
            blend = torch.lerp(a, b, share)
        return quantise(blend, floor)


def augment(
    content: Tensor,
    target: Tensor,
    style: Tensor,
    how: Augmentation,
    config: MelConfig,
    rng: np.random.Generator,
) -> list[Tensor]:
    """Augments mels [batch, n_mels, frames] in dB, as `Augmentation` says."""
    batch = len(target)

    def chance(probability: float) -> Tensor:
        return torch.from_numpy(rng.random(batch) < probability)

    def equaliser() -> Tensor:
        knots = rng.normal(0, how.equaliser_db, (batch, 8)) * chance(how.equaliser_probability).numpy()[:, None]
        return _curves(knots, config.n_mels)

    def room() -> tuple[Tensor, Tensor]:
        decay_s, level_db = np.exp(rng.uniform(-2.0, 0.4, batch)), rng.uniform(-25, -8, batch)
        keep = torch.from_numpy(np.exp(-13.8 / (decay_s * config.frame_rate))).float()
        wet = torch.from_numpy(10 ** (level_db / 10)).float() * chance(how.room_probability)
        return keep, wet

    def attack(probability: float) -> Tensor:
        """Seconds [batch, n_mels, frames] that a rise takes: smooth over bands, anew for every 20 frames."""
        low, high = np.log(how.attack_s)
        knots = rng.uniform(low, high, (batch, 1)) + rng.normal(0, 0.3, (batch, 8))
        moments = torch.from_numpy(rng.normal(0, 0.4, (batch, 1, 1 + content.shape[-1] // 20))).float()
        changes = moments.repeat_interleave(20, dim=2)[..., : content.shape[-1]]
        curve = _curves(knots, config.n_mels)[..., None] + changes
        return curve.exp() * chance(probability)[:, None, None]

    def intonation() -> Tensor:
        """Factor [batch, frames] on every frequency: drift from note to note, and vibrato."""
        frames = content.shape[-1]
        seconds = np.arange(frames) / config.frame_rate
        drift = _curves(rng.normal(0, how.intonation_cents, (batch, 2 + int(4 * seconds[-1]))), frames).numpy()
        depth = rng.uniform(0, how.vibrato_cents, (batch, 1)) * (rng.random((batch, 1)) < 0.5)
        phase = rng.uniform(4, 7.5, (batch, 1)) * seconds + rng.uniform(0, 1, (batch, 1))
        cents = (drift + depth * np.sin(2 * np.pi * phase)) * chance(how.intonation_probability).numpy()[:, None]
        return torch.from_numpy(2 ** (cents / 1200))

    def dynamics() -> Tensor:
        """Gain in dB [batch, 1, frames], another about every 0.7 s."""
        frames = content.shape[-1]
        knots = rng.normal(0, how.dynamics_db, (batch, 2 + int(1.5 * frames / config.frame_rate)))
        return _curves(knots * chance(how.dynamics_probability).numpy()[:, None], frames)[:, None]

    semitones = rng.uniform(-how.warp_semitones, how.warp_semitones, batch)
    factor = torch.from_numpy(2 ** (semitones * chance(how.warp_probability).numpy() / 12))[:, None]
    gain = torch.from_numpy(rng.uniform(-how.gain_db, how.gain_db, (2, batch))).float()
    floor, shared_equaliser, shared_room = config.floor_db, equaliser(), room()
    level = dynamics()
    shared_attack = attack(how.shared_attack_probability).mean(dim=2, keepdim=True)
    content, target = (torch.where(mel <= floor + 0.5, mel, mel + level) for mel in (content, target))
    content = soften(warp(content, factor * intonation(), config), attack(how.attack_probability), config)
    content = shape(content, equaliser() + gain[0, :, None], *room(), floor)
    target = shape(soften(warp(target, factor, config), shared_attack, config), shared_equaliser, *shared_room, floor)
    style = soften(warp(style, factor, config), shared_attack, config)
    style = shape(style, shared_equaliser + gain[1, :, None], *shared_room, floor)
    noise = torch.from_numpy(rng.uniform(-95, -50, batch)).float()
    noise = torch.where(chance(how.noise_probability), noise, torch.tensor(-200.0))
    noise = noise[:, None] + _curves(rng.normal(0, 5, (batch, 8)), config.n_mels)
    noisy = noise[..., None] + 3 * torch.from_numpy(rng.standard_normal(content.shape, dtype=np.float32))
    return [torch.maximum(content, noisy), target, style]


def _curves(knots: np.ndarray, n_mels: int) -> Tensor:
    """Smooth curves through knots [batch, k] spread evenly over `n_mels` bands (or frames): [batch, n_mels]."""
    return torch.nn.functional.interpolate(
        torch.from_numpy(knots).float()[:, None], size=n_mels, mode="linear", align_corners=True
    )[:, 0]


def warp(mel: Tensor, factor: Tensor, config: MelConfig) -> Tensor:
    """Mel in dB [batch, n_mels, frames] with each frequency multiplied by `factor` [batch, frames or 1]."""
    if bool((factor == 1).all()):
        return mel
    centres = hz_to_mel(band_centres_hz(config).double())
    step = float(centres[1] - centres[0])
    source = (hz_to_mel(band_centres_hz(config).double()[:, None] / factor[:, None]) - centres[0]) / step
    source = source.clamp(0, config.n_mels - 1.001)
    low = source.long()
    index = low.expand_as(mel)
    return torch.lerp(mel.gather(1, index), mel.gather(1, index + 1), (source - low).float().expand_as(mel))


def soften(mel: Tensor, attack_s: Tensor, config: MelConfig) -> Tensor:
    """Lets each band's amplitude rise no faster than a one-pole filter of time constant `attack_s` [batch, n_mels,
    frames or 1] (0: as it was); what falls, falls as before. Mel in dB [batch, n_mels, frames] -> the same shape."""
    slow = (attack_s > 0).flatten(1).any(dim=1)
    if not bool(slow.any()):
        return mel
    amplitude = 10 ** (mel[slow] / 20)
    towards = (1 - torch.exp(-1 / (config.frame_rate * attack_s[slow].clamp_min(1e-4)))).expand_as(amplitude)
    amplitudes, shares = amplitude.movedim(-1, 0).contiguous(), towards.movedim(-1, 0).contiguous()
    for before, now, share in zip(amplitudes, amplitudes[1:], shares[1:], strict=False):
        now.copy_(torch.minimum(now, torch.lerp(before, now, share)))  # a fall is below the line, and stays
    mel = mel.clone()
    mel[slow] = (20 * torch.log10(amplitudes.movedim(0, -1).clamp_min(1e-6))).clamp_min(config.floor_db)
    return mel


def shape(mel: Tensor, gain_db: Tensor, keep: Tensor, wet: Tensor, floor_db: float) -> Tensor:
    """Equaliser `gain_db` [batch, n_mels], then an exponential room: what a frame leaves to the next is `keep`
    [batch], its level against the direct sound `wet` [batch] (0: no room). Silence stays silent."""
    mel = torch.where(mel <= floor_db + 0.5, mel, mel + gain_db[..., None]).clamp(floor_db, 0)
    rooms = wet > 0
    if not bool(rooms.any()):
        return mel
    power = 10 ** (mel[rooms] / 10)
    tail, span = torch.nn.functional.pad(power, (1, 0))[..., :-1], 1
    while span < mel.shape[-1]:  # sum of keep^k x[t - k] by doubling
        shifted = torch.nn.functional.pad(tail, (span, 0))[..., : tail.shape[-1]]
        tail = tail + keep[rooms, None, None] ** span * shifted
        span *= 2
    mel = mel.clone()
    mel[rooms] = (10 * torch.log10(power + wet[rooms, None, None] * tail)).clamp(floor_db, 0)
    return mel
