"""How training varies mels: settings alone, which recipes hold and which need no torch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from timbrel.errors import InputError


@dataclass(frozen=True)
class Recording:
    """What a recording adds to the sound of an instrument, by chance: the player's vibrato and dynamics, an instrument
    nearby, a room, a microphone, noise, a codec. Probabilities 0-1; decibels; seconds of decay by 60 dB.

    A range is drawn from evenly, that of `room_decay_s` in its logarithm.

    Raises:
        InputError: a value out of range.
    """

    clean_probability: float = 0.15  # of nothing
    vibrato_probability: float = 0.25
    vibrato_cents: float = 60.0
    dynamics_probability: float = 0.3
    dynamics_db: float = 4.0
    neighbour_probability: float = 0.15
    neighbour_db: tuple[float, float] = (-35.0, -14.0)
    room_probability: float = 0.55
    room_decay_s: tuple[float, float] = (0.14, 1.6)
    room_db: tuple[float, float] = (-19.0, 6.0)  # of all that comes back, over the direct sound
    comb_db: float = 3.0  # that reflections give and take, from band to band
    colour_probability: float = 0.5
    colour_db: float = 3.0
    low_cut_probability: float = 0.25
    low_cut_hz: tuple[float, float] = (60.0, 280.0)
    high_cut_probability: float = 0.35
    high_cut_hz: tuple[float, float] = (3500.0, 16000.0)
    noise_probability: float = 0.6
    noise_db: tuple[float, float] = (-95.0, -42.0)  # of full scale, where music is at -20
    hum_probability: float = 0.2
    hum_db: tuple[float, float] = (-90.0, -45.0)  # of each harmonic
    codec_probability: float = 0.2
    codec_db: tuple[float, float] = (-80.0, -60.0)  # of full scale; what is softer is lost

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if name.endswith("probability") and not 0 <= value <= 1:
                raise InputError(f"{name} is {value:g}; expected 0 to 1")
            least = 0.0 if name.endswith(("_s", "_hz")) else -math.inf
            if isinstance(value, tuple) and not least < value[0] <= value[1]:
                above = "" if least else " above 0"
                raise InputError(f"{name} is {value[0]:g} {value[1]:g}; expected the lower one{above} first")


@dataclass(frozen=True)
class Augmentation:
    """What happens to mels by chance. Probabilities 0-1; decibels; semitones; cents; seconds.

    Target and reference share equaliser, attack and room, so that the model learns to take them from the reference;
    the source has an equaliser, attack, room and noise of its own, so that it learns to leave them behind. Source
    and target share pitch warp, vibrato and a level that comes and goes, so that it learns to keep pitch, loud and
    soft: the reference is warped alike but tuned otherwise and has no such vibrato, and the source wavers by a few
    cents of its own, no more than a tuner's needle does. Target and reference may be blends of two recordings of
    one score, an instrument that no library has: only the reference tells how it sounds. The reference may be
    recorded (`Recording`) as the target is not.
    """

    warp_probability: float = 0.5
    warp_semitones: float = 3.0
    vibrato_probability: float = 0.35
    vibrato_cents: float = 60.0
    equaliser_probability: float = 0.7
    equaliser_db: float = 4.0
    room_probability: float = 0.25
    noise_probability: float = 0.3
    attack_probability: float = 0.4
    shared_attack_probability: float = 0.1
    attack_s: tuple[float, float] = (0.015, 0.25)
    intonation_probability: float = 0.4
    intonation_cents: float = 4.0
    style_tuning_probability: float = 0.6
    style_tuning_cents: float = 60.0
    gain_db: float = 2.0
    dynamics_probability: float = 0.5
    dynamics_db: float = 6.0
    blend_probability: float = 0.3
    style_recording_probability: float = 0.5
