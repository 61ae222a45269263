"""Answers of a listening test -> means of each system with intervals.

A listener who cannot hear the hidden reference is left out, by the rule of ITU-R BS.1534-3, section 4.1.2: who rates it
under 90 in more than 15 % of the trials.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timbrel.errors import InputError
from timbrel.experiments.listening.build import REFERENCE
from timbrel.experiments.page import Column, Table, table
from timbrel.metrics.summary import crossed_interval

HEARD, MISSED_SHARE = 90, 0.15
COLUMNS = (Column("mushra", "MUSHRA", 0, "higher"), Column("low_share", "rated under 40", 2, "lower"))


def evaluate(files: Sequence[str | Path], test: str | Path) -> dict[str, Any]:
    """Reads the answers of several listeners.

    Args:
        files: what they saved.
        test: the folder of `timbrel evaluate listen`, for its key.

    Returns:
        `rows`: of each system its title, the MUSHRA mean with interval (listeners and trials drawn anew together), and
        how often it is rated under 40 ("poor" or "bad"); `listeners`, those that count; `excluded`, the others with the
        share of the trials in which they missed the hidden reference.

    Raises:
        InputError: a file is broken, of another test, of a listener that is there already, or lacks a rating; nobody is
            left.
    """
    key = _key(Path(test))
    ratings: dict[str, NDArray[np.float64]] = {}  # [systems, trials] of each listener
    for file in files:
        listener, values = _ratings(Path(file), key)
        if listener in ratings:
            raise InputError(f"{file} is of the listener {listener!r}, who is there already; leave one of them out")
        ratings[listener] = values
    names = list(key["systems"])
    missed = {who: float((values[names.index(REFERENCE)] < HEARD).mean()) for who, values in ratings.items()}
    kept = [who for who in ratings if missed[who] <= MISSED_SHARE]
    if not kept:
        raise InputError(
            f"none of {len(ratings)} listeners is left: each rated the hidden reference under {HEARD} in more than "
            f"{MISSED_SHARE:.0%} of the trials"
        )
    scores = np.stack([ratings[who] for who in kept])
    rows = {name: {"title": key["systems"][name], **_row(scores[:, k])} for k, name in enumerate(names)}
    return {"rows": rows, "listeners": kept, "excluded": {who: missed[who] for who in ratings if who not in kept}}


def _row(scores: NDArray[np.float64]) -> dict[str, Any]:
    """Of ratings [listeners, trials] of one system."""
    return {"mushra": crossed_interval(scores)._asdict(), "low_share": float((scores < 40).mean())}


def results_table(results: Mapping[str, Any]) -> Table:
    """A line for each system, the best first."""
    rows = sorted(results["rows"].values(), key=lambda row: -row["mushra"]["mean"])
    return table("", {row["title"]: row for row in rows}, COLUMNS, Column.bracketed)


def remarks(results: Mapping[str, Any]) -> list[str]:
    """Who was heard, in sentences."""
    count, excluded = len(results["listeners"]), results["excluded"]
    lines = [f"{count} listener{'s' * (count != 1)}; means with bootstrap 95 % intervals over listeners and trials."]
    return lines + [
        f"Left out: {who}, who rated the hidden reference under {HEARD} in {share:.0%} of the trials."
        for who, share in excluded.items()
    ]


def _key(folder: Path) -> dict[str, Any]:
    path = folder / "key.json"
    try:
        key = dict(json.loads(path.read_text(encoding="utf-8")))
        titles, sounds = dict(key["systems"]), [dict(trial["sounds"]) for trial in key["trials"]]
        if not sounds or REFERENCE not in titles or any(sorted(of.values()) != sorted(titles) for of in sounds):
            raise ValueError("trials and systems do not fit")
        return {"test": key["test"], "systems": titles, "trials": [{"sounds": of} for of in sounds]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read ({error!r}); expected the folder that `timbrel evaluate listen` made"
        ) from error


def _ratings(path: Path, key: Mapping[str, Any]) -> tuple[str, NDArray[np.float64]]:
    """The listener's name, and ratings [systems, trials] in the key's order."""
    try:
        answers = json.loads(path.read_text(encoding="utf-8"))
        listener, test, given = str(answers["listener"]), answers["test"], dict(answers["ratings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no answers ({error!r}); expected a file that the page saved") from error
    if test != key["test"]:
        raise InputError(f"{path} is of the test {test!r:.40}; expected {key['test']!r}: name its folder with --test")
    places = [{system: sound for sound, system in trial["sounds"].items()} for trial in key["trials"]]
    values: list[list[Any]] = [[given.get(place[system]) for place in places] for system in key["systems"]]
    if wrong := [x for row in values for x in row if type(x) not in (int, float) or not 0 <= x <= 100]:
        raise InputError(f"{path} has the rating {wrong[0]!r:.40}; expected 0 to 100 for each sound of each trial")
    return listener, np.array(values, np.float64)
