"""How training varies mels: settings alone, which recipes hold and which need no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """What happens to mels by chance. Probabilities 0-1; decibels; semitones; cents; seconds.

    Target and reference share pitch warp, equaliser, attack and room, so that the model learns to take them from the
    reference; the source has an equaliser, attack, room, intonation and noise of its own, so that it learns to leave
    them behind. Source and target share a level that comes and goes, so that it learns to keep loud and soft. Target
    and reference may be blends of two recordings of one score, an instrument that no library has: only the reference
    tells how it sounds.
    """

    warp_probability: float = 0.5
    warp_semitones: float = 3.0
    equaliser_probability: float = 0.7
    equaliser_db: float = 4.0
    room_probability: float = 0.25
    noise_probability: float = 0.3
    attack_probability: float = 0.4
    shared_attack_probability: float = 0.1
    attack_s: tuple[float, float] = (0.015, 0.25)
    intonation_probability: float = 0.4
    intonation_cents: float = 20.0
    vibrato_cents: float = 35.0
    gain_db: float = 2.0
    dynamics_probability: float = 0.5
    dynamics_db: float = 6.0
    blend_probability: float = 0.3
