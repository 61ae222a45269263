"""As what a judge hears what is painted into recordings: as what is around it, or as what a text says.

    python benchmarks/fill_heard.py DATA JUDGE [SOUNDS]

DATA is a mel store of `timbrel data sounds`, and JUDGE the `classifier.safetensors` that `timbrel evaluate generate`
trained on its training half. Of a held-out sound of each of so many classes (60 where no number is given) the seconds 1
to 5 of 6 (a shorter one ends in silence) are made anew: without a text, with the name of the class, and with that of
another class. The share of holes that the judge hears as each of the two is printed, and the share of those that have
it among the first five. A judge of classes rewards what is typical, not what is smooth, as LSD does
(`benchmarks/fill.py`).
"""

import sys
from collections import defaultdict

import numpy as np
import torch
from fill import held_out_pairs, sound

import timbrel
from timbrel.audio.io import Waveform
from timbrel.audio.mel import mel_spectrogram
from timbrel.data.store import MelStore
from timbrel.metrics.sounds import FRAMES, SoundClassifier, features

HOLE_S = (1.0, 5.0)
WITHIN_S = (1.1, 4.9)
SILENT_DB = -70


def heard(judge: SoundClassifier, store: MelStore, waveform: Waveform) -> list[str]:
    """Classes of what is in the hole of [samples], the likeliest first; none of what is silent."""
    begin, end = (round(seconds * store.config.sample_rate) for seconds in WITHIN_S)
    mel = mel_spectrogram(torch.from_numpy(waveform[begin:end])[None, None], store.config)[0, 0].numpy()
    again = np.tile(mel, -(-FRAMES // mel.shape[1]))[:, :FRAMES]
    return judge.ranked(features(again)) if mel.max() > SILENT_DB else []


def main(data: str, judge_path: str, count: int) -> None:
    store, judge, pipe = MelStore(data), SoundClassifier.load(judge_path), timbrel.GeneratePipeline.load()
    entries = [entry for entry, _ in held_out_pairs(store, count)]
    others = np.roll([entry.label for entry in entries], max(1, len(entries) // 3))
    hits: dict[str, list[tuple[bool, bool, bool, bool]]] = defaultdict(list)
    for entry, other in zip(entries, others, strict=True):
        truth = np.pad(sound(store, entry), (0, 6 * store.config.sample_rate))[: 6 * store.config.sample_rate]
        rows = {"what was there": truth}
        for name, prompt in (("no text", ""), ("the class's name", entry.label), ("another's name", str(other))):
            made = pipe.inpaint(truth[None], [HOLE_S], prompt, sample_rate=store.config.sample_rate)
            rows[f"made, {name}"] = made.waveform[0]
        for name, waveform in rows.items():
            classes = heard(judge, store, waveform)
            hits[name].append(tuple(label in classes[:k] for label in (entry.label, other) for k in (1, 5)))
    print(f"{len(entries)} sounds, each of another class: heard as the class around, as the other; in the first five")
    for name, row in hits.items():
        around, around_5, text, text_5 = np.mean(row, axis=0)
        print(f"{name}: {around:.2f}, {text:.2f}; {around_5:.2f}, {text_5:.2f}")


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 60)
