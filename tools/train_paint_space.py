"""Trains the joint space of music and pictures: `python -m tools.train_paint_space DATA FILE`.

Done once, on the training half of the set that the shipped painter was trained on;
`src/timbrel/experiments/report_004/space.safetensors` is the result.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from timbrel.data.paint.store import Music, Pictures, load_music, load_pictures
from timbrel.metrics.spaces import SpaceNetwork, as_seen, save_space, train_space


@torch.inference_mode()
def accuracies(network: SpaceNetwork, music: Music, pictures: Pictures) -> dict[str, float]:
    """How much of the held-out music, and of the held-out pictures, points to its own label: means over labels."""
    heard, seen = music.split > 0, pictures.split > 0
    vectors = {
        "music": (network.music(music.features[heard].float().mean(1)), music.label[heard]),
        "pictures": (network.pictures(network.see(as_seen(pictures.pixels[seen]))), pictures.label[seen]),
    }
    figures = {}
    for name, (placed, label) in vectors.items():
        right = network.logits(placed).argmax(-1) == label
        figures[name] = float(np.mean([right[label == k].float().mean() for k in label.unique()]))
    return figures


def main(data: str, path: str) -> None:
    music, pictures = load_music(data), load_pictures(data)
    network = train_space(music, pictures)
    save_space(Path(path), network)
    print(" ".join(f"{name} {share:.2f}" for name, share in accuracies(network, music, pictures).items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
