"""What the page shows in HTML of its own: spectrograms that play, results to download, hints and progress.

`page.js` gives them life: it listens to the whole page, so that what is shown later works as well. What an element has
as `data-say` is said by a screen reader once it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import ascii_uppercase
from time import monotonic_ns
from urllib.parse import quote

from timbrel.web.jobs import Status
from timbrel.web.sounds import Sound, Take, gains

HEADER = (
    "<header><h1>timbrel</h1><p>Play a recording on another instrument.</p>"
    '<p class="tb-quiet">All of it happens on this machine; files are gone after a day.</p></header>'
)
FOOTER = (
    "<footer><p><kbd>Space</kbd> play <kbd>B</kbd> compare <kbd>←</kbd> <kbd>→</kbd> move, on a spectrogram</p>"
    '<p id="tb-said" role="status"></p></footer>'
)


def url(path: Path) -> str:
    return f"gradio_api/file={quote(str(path))}"


def clock(seconds: float) -> str:
    """
    >>> clock(9.2), clock(61), clock(3600)
    ('0:09', '1:01', '60:00')
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def letter(k: int) -> str:
    """
    >>> letter(0), letter(25), letter(26)
    ('A', 'Z', '27')
    """
    return ascii_uppercase[k] if k < len(ascii_uppercase) else str(k + 1)


def link(path: Path, text: str, *, primary: bool = False) -> str:
    kind = "tb-link tb-primary" if primary else "tb-link"
    return f'<a class="{kind}" href="{url(path)}" download="{escape(path.name)}">{escape(text)}</a>'


def player(take: Take, *, select: bool = False) -> str:
    """Spectrograms of one length, one under the other, that play together; one of them is heard.

    Args:
        take: what is shown.
        select: a part of the first can be chosen by dragging over it.
    """
    lanes = [
        _lane(sound, gain, letter(k), heard=k == len(take.sounds) - 1, select=select and k == 0)
        for k, (sound, gain) in enumerate(zip(take.sounds, gains(take.sounds), strict=True))
    ]
    several = len(lanes) > 1
    switch = '<button type="button" class="tb-switch" aria-keyshortcuts="b">Compare <kbd>B</kbd></button>'
    hint = "equally loud" if several else ""
    made = [sound for sound in take.sounds if not sound.is_source]
    links = "".join(link(sound.path, sound.path.name, primary=True) for sound in made)
    notes = "".join(f"<p class='tb-note'>{escape(note)}</p>" for note in take.notes)
    return (
        f'<section class="tb-player" aria-label="{escape(take.label)}"{_say(f"Ready: {take.label}")}>{"".join(lanes)}'
        '<div class="tb-bar"><button type="button" class="tb-play" aria-keyshortcuts="Space">Play</button>'
        f'{switch if several else ""}<span class="tb-time" role="timer">0:00</span>'
        f'<span class="tb-quiet">{hint}</span></div>{notes}'
        f'<div class="tb-links">{links}</div></section>'
    )


def _say(text: str) -> str:
    return f' data-say="{escape(text)}"'


def _lane(sound: Sound, gain: float, letter: str, *, heard: bool, select: bool) -> str:
    name, title = escape(sound.path.name), escape(sound.title)
    return (
        f'<div class="tb-lane{" tb-heard" if heard else ""}" data-gain="{gain:.4f}">'
        f'<button type="button" class="tb-tag" aria-pressed="{str(heard).lower()}" aria-label="Hear {title}: {name}">'
        f"<b>{letter}</b><span>{title}</span><i>{name}</i></button>"
        f'<div class="tb-spectrogram{" tb-select" if select else ""}" role="slider" tabindex="0" aria-valuemin="0" '
        f'aria-valuemax="{sound.duration_s:.2f}" aria-valuenow="0" aria-valuetext="0:00 of {clock(sound.duration_s)}" '
        f'aria-label="Position in {name}" data-duration="{sound.duration_s:.4f}">'
        f'<img src="{url(sound.picture)}" alt="Mel spectrogram of {name}" draggable="false">'
        f'<div class="tb-span" hidden></div><div class="tb-head"></div></div>'
        f'<audio preload="auto" src="{url(sound.path)}"></audio></div>'
    )


def example(sound: Path) -> str:
    """A short sound with a button, that plays at once."""
    return (
        f'<div class="tb-example"><audio autoplay controls preload="auto" src="{url(sound)}" '
        f'aria-label="Example: {escape(sound.stem)}"></audio></div>'
    )


def pictures(paths: Sequence[Path]) -> str:
    shown = "".join(
        f'<figure><img src="{url(path)}" alt="Picture {escape(path.stem)}">'
        f"<figcaption>{link(path, path.name)}</figcaption></figure>"
        for path in paths
    )
    return f'<section class="tb-pictures"{_say(f"Ready: {len(paths)} pictures")}>{shown}</section>'


def movie(path: Path) -> str:
    return (
        f'<section class="tb-movie"{_say(f"Ready: {path.name}")}>'
        f'<video controls aria-label="{escape(path.name)}" src="{url(path)}"></video>'
        f'<div class="tb-links">{link(path, path.name, primary=True)}</div></section>'
    )


def outcomes(rows: Sequence[tuple[str, Path | str]], archive: Path | None) -> str:
    """What became of each file of a batch: its result, or what went wrong."""
    lines = [
        f"<li><b>{escape(name)}</b> {link(made, made.name) if isinstance(made, Path) else _error(made)}</li>"
        for name, made in rows
    ]
    whole = f'<div class="tb-links">{link(archive, archive.name, primary=True)}</div>' if archive else ""
    ready = f"Ready: {sum(isinstance(made, Path) for _, made in rows)} of {len(rows)} files"
    return f'<section class="tb-batch"{_say(ready)}><ul>{"".join(lines)}</ul>{whole}</section>'


def _error(message: str) -> str:
    return f'<span class="tb-error">{escape(message)}</span>'


def hint(text: str) -> str:
    """With the time, as the page shows and says only what differs from before."""
    return f'<p class="tb-hint" data-at="{monotonic_ns()}"{_say(text)}>{escape(text)}</p>'


def error(text: str) -> str:
    return f'<p class="tb-hint tb-error" role="alert">{escape(text)}</p>'


def empty(text: str) -> str:
    return f'<div class="tb-empty"><p>{escape(text)}</p></div>'


def instruments(names: Sequence[str], own: Sequence[str]) -> str:
    """The instruments that there are, one's own first."""
    listed = "".join(f"<li>{escape(name)}</li>" for name in names if name not in own)
    mine = "".join(f"<li>{escape(name)}</li>" for name in own) or "<li class='tb-quiet'>none yet</li>"
    say = _say(f"Your own instruments: {', '.join(own) or 'none yet'}")
    both = f"<h2>Your own</h2><ul>{mine}</ul><h2>The model’s</h2><ul>{listed}</ul>"
    return f'<section class="tb-names"{say}>{both}</section>'


def ready(path: Path, note: str = "") -> str:
    """A link that `page.js` follows at once."""
    return (
        f'<p class="tb-hint" data-follow{_say(f"Ready: {path.name}")}>{link(path, path.name)}</p>'
        f'<p class="tb-quiet">{escape(note)}</p>'
    )


def progress(status: Status) -> str:
    percent = "" if status.share is None else f' value="{status.share:.3f}"'
    said = f"Waiting, number {status.place} in the queue" if status.place else status.note or "Working"
    text = said if status.left_s is None else f"{status.note} · about {clock(status.left_s + 0.99)} left".lstrip(" ·")
    return (
        f'<div class="tb-progress"{_say(said)}><progress aria-label="Progress"{percent}></progress>'
        f"<span>{escape(text)}</span></div>"
    )
