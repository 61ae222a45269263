"""How much is computed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """`clips` of held-out music a label, a picture of each; `works` and `procedural` of a set that is made; `epochs`
    of the two experiments, at `rates`; movies of `movies` clips. The report has 25 and 50 epochs at 8e-5 and 1e-5, and
    335 pictures: higher rates stand in for epochs that are not there."""

    name: str
    works: int
    procedural: int
    clips: int
    epochs: tuple[int, int]
    rates: tuple[float, float]
    movies: int
    movie_s: float


QUICK = Budget(name="quick", works=12, procedural=40, clips=2, epochs=(1, 1), rates=(1e-3, 1e-4), movies=1, movie_s=6.0)
CPU = Budget(name="cpu", works=48, procedural=400, clips=5, epochs=(2, 2), rates=(1e-3, 1e-4), movies=3, movie_s=15.0)
GPU = dataclasses.replace(CPU, name="gpu", clips=20, epochs=(25, 50), rates=(8e-5, 1e-5))
