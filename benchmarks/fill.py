"""What is painted into recordings, beside the truth, and how well loops join.

    python benchmarks/fill.py DATA [SOUNDS]

DATA is a mel store of `timbrel data sounds`. Of a held-out sound of each of so many classes (60 where no number is
given) 1.5 s of the first 6 are made anew: with the name of the class, and without a text. The sounds are inverted from
their mels. LSD to what was there, in dB within the hole, is printed with its 95 % interval over the sounds, beside that
of silence, of what was there 1.5 s before, of another held-out sound of the class, of what is around the hole carried
across it in each band, and of what was there after the model's codec; these five are pasted in as they are. LSD rewards
what is smooth. So there is also by how much a mel changes from frame to frame, over by how much the truth's does: the
median over the sounds.
Then a loop of 4 s is made of each name: the step from its last sample to its first, over the 99.9th percentile of its
own steps.
"""

import sys
from collections import defaultdict
from functools import partial

import numpy as np
import torch

import timbrel
from timbrel.audio.inversion import invert_mel
from timbrel.audio.io import resample
from timbrel.audio.mel import mel_spectrogram
from timbrel.data.store import Entry, MelStore
from timbrel.experiments.generate.rows import beginning
from timbrel.metrics.spectral import CONFIG, DYNAMIC_RANGE_DB, frame_distances
from timbrel.metrics.summary import mean_interval
from timbrel.models.text_unet import carried

HOLE_S = (2.25, 3.75)
ANOTHER = "another sound of the class"


def held_out_pairs(store: MelStore, count: int) -> list[tuple[Entry, Entry]]:
    """Two held-out sounds of 5 s or more of each of so many classes, or of all that have two."""
    least = 5 * store.config.sample_rate // store.config.hop_length
    by_class: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(store.entries, key=lambda entry: entry.id):
        if entry.split == "validation" and entry.frames >= least:
            by_class[entry.label].append(entry)
    pairs = [(some[0], some[1]) for some in by_class.values() if len(some) > 1]
    chosen = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
    return [pairs[k] for k in chosen]


def sound(store: MelStore, entry: Entry) -> np.ndarray:
    """A mel's sound: [samples]."""
    mel = torch.from_numpy(beginning(store, entry))[None, None]
    return invert_mel(mel, store.config)[0, 0].numpy()


def mel_of(waveform: np.ndarray, rate: int) -> torch.Tensor:
    """dB [128, frames], as the metrics hear it."""
    heard = resample(waveform[None], rate, CONFIG.sample_rate)
    return mel_spectrogram(torch.from_numpy(heard)[None], CONFIG)[0, 0]


def within(truth: np.ndarray, made: np.ndarray, rate: int) -> tuple[float, float]:
    """LSD in dB of two sounds in the hole, below the truth's loudest moment by at most 80 dB; and by how much what was
    made changes there from frame to frame, over by how much the truth does, or over 0.3 dB where that is more."""
    begin, end = (round(seconds * CONFIG.sample_rate / CONFIG.hop_length) for seconds in HOLE_S)
    mels = [mel_of(sound, rate) for sound in (truth, made)]
    below = [(mel - mels[0].max()).clamp(-DYNAMIC_RANGE_DB).numpy() for mel in mels]
    changes = [float(np.abs(np.diff(mel[:, begin:end])).mean()) for mel in below]
    return float(frame_distances(*below)[begin:end].mean()), changes[1] / max(changes[0], 0.3)


def pasted(truth: np.ndarray, other: np.ndarray, rate: int) -> np.ndarray:
    """A sound with the same moments of another in the hole."""
    begin, end = (round(seconds * rate) for seconds in HOLE_S)
    out = truth.copy()
    out[begin:end] = other[begin:end]
    return out


def coded(pipe: timbrel.GeneratePipeline, sound: np.ndarray, *, across: bool = False) -> np.ndarray:
    """A sound after the model's codec: no denoiser can come nearer to it. Or that with what is around the hole carried
    `across`: so much the denoiser is told. [samples]."""
    mel, factor = mel_spectrogram(torch.from_numpy(sound)[None, None], pipe.model.mel), pipe.model.codec.factor
    with torch.inference_mode():
        latents = pipe.model.codec.encode(mel[..., : mel.shape[-1] // factor * factor])
        if across:
            is_known = torch.ones_like(latents[:, :1])
            begin, end = (round(s * pipe.model.mel.sample_rate / pipe.model.mel.hop_length / factor) for s in HOLE_S)
            is_known[..., begin:end] = 0
            latents = carried(latents, is_known)
        heard = pipe.model.decode(latents)
    return invert_mel(heard, pipe.model.mel, length=len(sound))[0, 0].numpy()


def seam(loop: np.ndarray) -> float:
    """The step from the end to the start, over the 99.9th percentile of the steps within."""
    return float(abs(loop[0] - loop[-1]) / np.percentile(np.abs(np.diff(loop)), 99.9))


def main(data: str, count: int) -> None:
    store, pipe = MelStore(data), timbrel.GeneratePipeline.load()
    rate = store.config.sample_rate
    gap = round((HOLE_S[1] - HOLE_S[0]) * rate)
    distances: dict[str, list[float]] = defaultdict(list)
    changes: dict[str, list[float]] = defaultdict(list)
    labels = []
    for entry, another in held_out_pairs(store, count):
        truth, other = sound(store, entry), sound(store, another)
        make = partial(pipe.inpaint, truth[None], [HOLE_S], sample_rate=rate)
        rows = {
            "silence": pasted(truth, np.zeros_like(truth), rate),
            "what was there 1.5 s before": pasted(truth, np.roll(truth, gap), rate),
            ANOTHER: pasted(truth, other, rate),
            "what is around it, carried across": pasted(truth, coded(pipe, truth, across=True), rate),
            "what was there, after the codec": pasted(truth, coded(pipe, truth), rate),
            "made, without a text": make().waveform[0],
            "made, with the class's name": make(prompt=entry.label).waveform[0],
        }
        for name, filled in rows.items():
            distance, change = within(truth, filled, rate)
            distances[name].append(distance)
            changes[name].append(change)
        labels.append(entry.label)
    print(f"{len(labels)} sounds, each of another class: LSD in the hole")
    for name, row in distances.items():
        half = np.mean(np.array(row) <= 0.5 * np.array(distances[ANOTHER]))
        share = np.mean(row) / np.mean(distances[ANOTHER])
        mean, low, high, _ = mean_interval(row)
        print(f"{name}: {mean:.1f} dB [{low:.1f}, {high:.1f}]")
        print(f"    {share:.2f} of another's; at most half of it in {half:.2f} of the sounds")
        print(f"    changes by {np.median(changes[name]):.2f} of what the truth does")
    seams = [seam(pipe(label, duration_s=4, loop=True)[0].waveform[0]) for label in labels]
    print(f"{len(seams)} loops: the step at the seam is at most {max(seams):.2f} of the 99.9th percentile")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60)
