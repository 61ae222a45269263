"""Does a picture go with its music? (report 004, section 4.1.3)

Music and pictures are vectors of one space (`spaces.py`), likeness is the cosine. How much more alike a picture is to
its own music than to all music of a test set is its *margin*. The report gives the mean margin m as an angle, in per
cent, where 50 is chance:

    AIS     (2 - arccos(m / 2) 2 / pi) / 2    a picture and its music
    IIS     (2 - arccos(m) 2 / pi) / 2        a picture and the true picture of its music
    GIILS   likewise                          two pictures painted for one label

Only the AIS has m / 2. The mean over the others leaves the own out and divides by the size of the whole set, as in the
report, so that by chance m is a little above 0 if all are alike. A *win* is a picture that is more alike to its own
music than to another's; half of them are chance. The unit of an interval is the clip of music: pictures of one clip are
no independent cases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from timbrel.errors import InputError
from timbrel.metrics.summary import Summary, mean_interval


def cosines(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Cosines of the angles between vectors [n, d] and [m, d]: [n, m].

    Raises:
        InputError: other shapes, or a vector that is 0 or not finite.
    """
    if first.ndim != 2 or first.shape[1:] != second.shape[1:] or not len(first) or not len(second):
        raise InputError(f"vectors have shapes {first.shape} and {second.shape}; expected [n, d] and [m, d]")
    sides = [np.asarray(side, np.float64) for side in (first, second)]
    norms = [np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    if not all(np.isfinite(norm).all() and norm.all() for norm in norms):
        raise InputError("a vector is 0 or not finite; expected a direction: see what made it")
    a, b = (side / norm for side, norm in zip(sides, norms, strict=True))
    return (a @ b.T).clip(-1, 1)


def angle_score(margin: float, *, halved: bool = False) -> float:
    """A mean margin as the report's angle in per cent: 50 for 0, 100 for 1, 0 for -1.

    >>> [round(angle_score(m), 6) for m in (0.0, 1.0, -1.0)]
    [50.0, 100.0, 0.0]
    >>> round(angle_score(1.0, halved=True), 6)
    66.666667
    """
    return float(100 - np.degrees(np.arccos(np.clip(margin / (2 if halved else 1), -1, 1))) / 1.8)


def margins(likeness: NDArray, own: Sequence[int]) -> NDArray[np.float64]:
    """By how much each of n pictures is more alike to its own than to all: [n].

    Args:
        likeness: [n, t] to each of a test set.
        own: [n], which of the test set is a picture's own.

    Raises:
        InputError: another shape, or a number that is not in the test set.
    """
    validate(likeness, own)
    mine = likeness[np.arange(len(own)), own]
    return mine - (likeness.sum(1) - mine) / likeness.shape[1]


def win_rates(likeness: NDArray, own: Sequence[int]) -> NDArray[np.float64]:
    """Of all others in the test set, the share that each picture is less alike to than to its own: [n]; equals count
    half. Arguments as `margins`."""
    validate(likeness, own)
    mine = likeness[np.arange(len(own)), own][:, None]
    higher = (likeness < mine).sum(1) + ((likeness == mine).sum(1) - 1) / 2
    return higher / (likeness.shape[1] - 1)


def validate(likeness: NDArray, own: Sequence[int]) -> None:
    """Raises InputError where likeness [n, t], t at least 2, and the own [n] do not fit."""
    if likeness.ndim != 2 or len(likeness) != len(own) or likeness.shape[1] < 2:
        raise InputError(
            f"likeness has shape {likeness.shape}, and {len(own)} have their own; expected [n, t] for n, t 2 or more"
        )
    if not all(0 <= k < likeness.shape[1] for k in own):
        raise InputError(f"own has numbers from {min(own)} to {max(own)}; expected 0 to {likeness.shape[1] - 1}")


def by_clip(values: NDArray, clips: Sequence[int]) -> NDArray[np.float64]:
    """Means of the values [n] of each clip's pictures, in the clips' order."""
    numbers = np.asarray(clips)
    return np.array([values[numbers == clip].mean() for clip in np.unique(numbers)])


def score(values: NDArray, clips: Sequence[int], *, halved: bool = False) -> Summary:
    """The angle of the mean margin [n], and of its bootstrap interval over clips [n]."""
    mean, low, high, count = mean_interval(by_clip(values, clips))
    low, mean, high = (angle_score(m, halved=halved) for m in (low, mean, high))
    return Summary(mean, low, high, count)


def label_margins(pictures: NDArray, labels: Sequence[int], label: int, most: int = 10) -> NDArray[np.float64]:
    """GIILS' margins of one label: for each ordered pair of its first `most` pictures, their likeness less the mean
    likeness of the first one to all pictures but itself: [pairs].

    Args:
        pictures: vectors of all painted pictures [n, d].
        labels: [n], of the music that each was painted for.

    Raises:
        InputError: fewer than two pictures of the label.
    """
    of_label = np.flatnonzero(np.asarray(labels) == label)[:most]
    if len(of_label) < 2:
        raise InputError(f"label {label} has {len(of_label)} pictures; expected two or more")
    likeness = cosines(pictures, pictures)
    around = (likeness.sum(1) - 1) / len(pictures)
    pairs = [(i, j) for i in of_label for j in of_label if i != j]
    return np.array([likeness[i, j] - around[i] for i, j in pairs])


def evaluate(
    space: str,
    pictures: NDArray,
    music: NDArray,
    own_music: Sequence[int],
    true_pictures: NDArray,
    own_picture: Sequence[int],
) -> dict[str, Summary]:
    """AIS, IIS and win rates by names that say in which space: {"ais[clap-clip]": ...}.

    Args:
        space: its name.
        pictures: vectors of painted pictures [n, d].
        music: of the test set's music [t, d].
        own_music: [n], which music each was painted for.
        true_pictures: of the test set's pictures [u, d].
        own_picture: [n], the true picture of the same music.
    """
    heard, seen = cosines(pictures, music), cosines(pictures, true_pictures)
    return {
        f"ais[{space}]": score(margins(heard, own_music), own_music, halved=True),
        f"iis[{space}]": score(margins(seen, own_picture), own_music),
        f"wins[{space}]": mean_interval(by_clip(win_rates(heard, own_music), own_music)),
    }
