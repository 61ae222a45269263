"""Speech in several voices and languages, by the command espeak-ng (Debian's `espeak-ng`, GPL-3 or later).

The sentences are composed of word lists of our own. espeak-ng has no child's voice: a woman's is raised, formants too.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from timbrel.data.sounds.maker import Maker, in_a_room, resampled, seconds
from timbrel.errors import MissingDependencyError

# Who, does, what: each language's three lists, in the order of a sentence.
SENTENCES = {
    "en-us": (
        "the old baker|my sister|a tall sailor|the new teacher|our neighbour|every child|two friends|the doctor",
        "carries|has never seen|is looking for|paints|remembers|would like to buy|found|opens slowly",
        "a small red boat|the quiet market|seven green apples|the letter from home|a wooden chair|the last train|"
        "that song about rain|an open window",
    ),
    "de": (
        "der alte Bäcker|meine Schwester|ein großer Hund|die neue Lehrerin|unser Nachbar|jedes Kind",
        "sucht heute|hat gestern|sieht im Garten|malt gerne|kennt schon|kauft morgen",
        "ein kleines rotes Boot|den stillen Markt|sieben grüne Äpfel|einen Brief von zu Hause|das offene Fenster",
    ),
    "fr": (
        "le vieux boulanger|ma sœur|un grand marin|la nouvelle voisine|chaque enfant|notre ami",
        "regarde|cherche partout|achète demain|n'a jamais vu|dessine|ouvre doucement",
        "un petit bateau rouge|le marché tranquille|sept pommes vertes|la lettre de Paris|une fenêtre ouverte",
    ),
    "es": (
        "el viejo panadero|mi hermana|un marinero alto|la nueva maestra|cada niño|nuestro vecino",
        "busca siempre|nunca ha visto|compra mañana|pinta|recuerda|abre despacio",
        "un pequeño barco rojo|el mercado tranquilo|siete manzanas verdes|la carta de casa|una ventana abierta",
    ),
    "it": (
        "il vecchio fornaio|mia sorella|un marinaio alto|la nuova maestra|ogni bambino|il nostro vicino",
        "cerca sempre|non ha mai visto|compra domani|dipinge|ricorda|apre piano",
        "una piccola barca rossa|il mercato tranquillo|sette mele verdi|la lettera da casa|una finestra aperta",
    ),
}
MALE = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "Andy", "Denis", "Mike", "Lee", "Michael", "john", "max")
FEMALE = ("f1", "f2", "f3", "f4", "f5", "Alicia", "Andrea", "Annie", "anika", "belinda", "linda", "steph")
ROBOT = ("robosoft", "robosoft2", "robosoft3", "robosoft5", "robosoft8", "UniRobot", "anikaRobot")
# Class -> variants of a voice, pitch (0 to 99) and how much faster it is played then.
VOICES = {
    "male speech": (MALE, (20, 55), (0.94, 1.06)),
    "female speech": (FEMALE, (45, 75), (0.97, 1.08)),
    "child speech": (FEMALE, (75, 99), (1.2, 1.4)),
    "whispering": (("whisper", "whisperf"), (30, 70), (0.85, 1.25)),
    "robot": (ROBOT, (10, 80), (0.8, 1.2)),
    "laughter": (MALE + FEMALE, (30, 90), (0.95, 1.25)),
}
LICENCE = "made by espeak-ng (GPL-3+); sentences by timbrel (MIT)"


def speech_makers() -> Iterator[Maker]:
    """A maker for each class of `VOICES`, and one for a crowd.

    Raises:
        MissingDependencyError: espeak-ng is not installed.
    """
    if shutil.which("espeak-ng") is None:
        raise MissingDependencyError("espeak-ng is not installed; on Debian: apt-get install espeak-ng")
    for label in VOICES:
        yield Maker(label, "espeak-ng", LICENCE, functools.partial(_speech, label))
    yield Maker("crowd chatter", "espeak-ng", LICENCE, _crowd)


def sentence(language: str, rng: np.random.Generator) -> str:
    """Some words: who does what."""
    return " ".join(str(rng.choice(words.split("|"))) for words in SENTENCES[language])


def laugh(rng: np.random.Generator) -> str:
    return " ".join([str(rng.choice(["ha", "haha", "he", "hehe", "ho", "hi"]))] * int(rng.integers(3, 10)))


def _speech(label: str, rng: np.random.Generator, rate: int) -> np.ndarray:
    """One or more sentences, float32 [samples]."""
    variants, pitches, speeds = VOICES[label]
    language = str(rng.choice(list(SENTENCES)))
    voice = [f"{language}+{rng.choice(variants)}", str(rng.integers(*pitches)), str(rng.integers(110, 200))]
    speed = rng.uniform(*speeds)
    say = laugh if label == "laughter" else functools.partial(sentence, language)
    text = ". ".join(say(rng) for _ in range(int(rng.integers(1, 4))))
    spoken = resampled(_spoken(text, *voice, rate=rate), speed, rate)
    return in_a_room(spoken[: round(seconds(rng) * rate)], rng, rate)


def _spoken(text: str, voice: str, pitch: str, words_a_minute: str, *, rate: int) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder, "speech.wav")
        command = ["espeak-ng", "-v", voice, "-p", pitch, "-s", words_a_minute, "-w", str(wav), "--", text]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not wav.exists():
            raise MissingDependencyError(f"espeak-ng failed with the voice {voice}: {done.stderr.strip()[-300:]}")
        waveform, original = soundfile.read(wav, dtype="float32")
    return soxr.resample(waveform, original, rate)


def _crowd(rng: np.random.Generator, rate: int) -> np.ndarray:
    """Six to twelve people, who speak at once, near and far."""
    samples = round(seconds(rng) * rate)
    crowd = np.zeros(samples, np.float32)
    for _ in range(int(rng.integers(6, 13))):
        label = str(rng.choice(["male speech", "female speech"]))
        voice = np.resize(_speech(label, rng, rate), samples)
        crowd += np.roll(voice, int(rng.integers(samples))) * np.float32(rng.uniform(0.2, 1))
    return in_a_room(crowd, rng, rate, share=1.0)
