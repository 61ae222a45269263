"""The command `timbrel`: one verb a function in this package, parsed by tyro.

Importing this needs neither torch nor numpy: a verb imports what it needs when it runs.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import tyro
from tyro.extras import SubcommandApp

from timbrel.cli import (
    accompany,
    data,
    doctor,
    duet,
    evaluate,
    export,
    generate,
    hub,
    instruments,
    models,
    paint,
    reproduce,
    train,
    transfer,
    web,
)
from timbrel.errors import TimbrelError

DESCRIPTION = """Puts a recording on another instrument, keeping its melody and rhythm.

    timbrel transfer song.mp3 --to violin         writes song-violin.wav
    timbrel transfer song.mp3 --to my-cello.wav   or any recording as the style
    timbrel transfer --help                       every verb's help has an example
"""
# Words -> a verb, or what a group of verbs is for; a group comes before its verbs.
VERBS: dict[str, str | Callable[..., int | None]] = {
    "transfer": transfer.transfer,
    "duet": duet.duet,
    "accompany": accompany.accompany,
    "generate": generate.generate,
    "inpaint": generate.inpaint,
    "extend": generate.extend,
    "paint": paint.paint,
    "web": web.web,
    "models": models.models,
    "export": export.export,
    "push": hub.push,
    "pull": hub.pull,
    "instruments": "Your own named instruments, made from clips.",
    "instruments add": instruments.add,
    "instruments list": instruments.list_own,
    "instruments remove": instruments.remove,
    "data": "Make training data, from scores or from your recordings.",
    "data synth": data.synth,
    "data sounds": data.sounds,
    "data audioset": data.audioset,
    "data download": data.download,
    "data paint": data.paint,
    "data prepare": data.prepare,
    "data pictures": data.pictures,
    "data pairs": data.pairs,
    "data sound": data.sound,
    "train": "Train a model of your own.",
    "train autoencoder": train.autoencoder,
    "train transfer": train.transfer,
    "train style": train.style,
    "train single": train.single,
    "train generate": train.generate,
    "train features": train.features,
    "train listener": train.listener,
    "train picture-codec": train.picture_codec,
    "train picture": train.picture,
    "evaluate": "Build the benchmark, measure models or other programs on it, and compare sets of recordings.",
    "evaluate build": evaluate.build,
    "evaluate model": evaluate.model,
    "evaluate outputs": evaluate.outputs,
    "evaluate beyond": evaluate.beyond,
    "evaluate listen": evaluate.listen,
    "evaluate listened": evaluate.listened,
    "evaluate real": evaluate.real,
    "evaluate generate": evaluate.generate,
    "evaluate distance": evaluate.distance,
    "reproduce": "Compute the reports' tables and figures anew.",
    "reproduce 001": reproduce.report_001,
    "reproduce 002": reproduce.report_002,
    "reproduce 003": reproduce.report_003,
    "reproduce 004": reproduce.report_004,
    "doctor": doctor.doctor,
}


class Stopped(BaseException):
    """SIGTERM or SIGHUP as an exception, so that what is half-done is cleaned up as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. Exit codes: 0 fine, 2 a wrong value or a file that failed, 130 interrupted by Ctrl-C, 143
    by SIGTERM, 129 by SIGHUP."""
    args = [_as_path(word) for word in (sys.argv[1:] if argv is None else argv)] or ["--help"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8
    try:
        if args == ["--version"]:
            import timbrel

            print(f"timbrel {timbrel.__version__}")
            return 0
        config = (tyro.conf.FlagCreatePairsOff, tyro.conf.CascadeSubcommandArgs)
        if args[0] != "train" and not {"-h", "--help"} & set(args):  # training goes on until the others' work ends
            from timbrel.parallel import share_processors

            share_processors()
        with _stop_signals():
            return _app(args).cli(prog="timbrel", description=DESCRIPTION, args=args, config=config) or 0
    except SystemExit as stop:  # tyro's, after help or a wrong flag
        return stop.code if isinstance(stop.code, int) else 0
    except (KeyboardInterrupt, Stopped) as stop:
        with suppress(OSError):  # after SIGHUP there may be no terminal
            print("timbrel: interrupted; nothing is left half-written", file=sys.stderr)
        return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
    except (TimbrelError, OSError) as error:
        print(f"timbrel: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)


def _as_path(word: str) -> str:
    """A file whose name begins with a dash is no flag."""
    return f"./{word}" if word.startswith("-") and "." in word and os.path.isfile(word) else word


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Raises `Stopped` for a signal that would else end the process at once; one that is ignored (nohup) stays so."""

    quiet_until_s = 0.0

    def stop(number: int, frame: object) -> None:
        nonlocal quiet_until_s
        if time.monotonic() > quiet_until_s:  # `timeout` sends two: the second shall not disturb the cleaning up
            quiet_until_s = time.monotonic() + 1
            raise Stopped(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _app(args: Sequence[str]) -> SubcommandApp:
    """Verbs of two and three words are groups in groups. A list of verbs has a line for each."""
    apps = {"": SubcommandApp()}
    for words, target in VERBS.items():
        group, _, name = words.rpartition(" ")
        if isinstance(target, str):
            apps[words] = SubcommandApp()
            apps[group].command(apps[words], name=name, help=target)
        else:
            is_called = words.split() == args[: len(words.split())]
            first_line = str(target.__doc__).split("\n")[0]
            apps[group].command(name=name, help=None if is_called else first_line)(target)
    return apps[""]
