"""A list of addresses -> recordings, one folder an instrument: what `prepare` reads (report 001, section 3.2).

    LIST.csv (label, title, url)  ->  OUT/LABEL/TITLE.mp3, OUT/sources.json, OUT/failures.csv

yt-dlp works in `OUT/.partial/`, where a stopped download goes on; a recording takes its name when it is whole.
`OUT/sources.json` ties each name to its address: it stays when the list grows, and nothing is fetched twice.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
import os
import re
import shutil
import socket
import time
import unicodedata
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from timbrel.audio.decoders import to_mp3
from timbrel.audio.io import open_audio
from timbrel.errors import AudioError, InputError, MissingDependencyError
from timbrel.files import write_text

COLUMNS = ("label", "title", "url")
MAX_NAME_BYTES = 200  # of the 255 that file systems allow: the rest is for a suffix, also of what is made of it
RETRY_WAIT_S = 1.0  # before the second attempt, then twice as long each time
LONGEST_WAIT_S = 60.0
MOST_BYTES = 2_000_000_000
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
_FORMULA = tuple("=+-@")
_MOST_PAGE_BYTES = 50_000_000
_JOINERS = "\u200c\u200d"  # invisible, but Persian words and some emoji need them inside


@dataclass(frozen=True)
class Row:
    """One recording of a list: its instrument, its title and where it is (http or https)."""

    label: str
    title: str
    url: str


@dataclass(frozen=True)
class DownloadReport:
    """What `download` did; as text, a summary.

    Attributes:
        recordings: those in place; `reused` of them were there before.
        failures: each row that was not fetched, with the reason; also in `out/failures.csv`.
    """

    out: Path
    recordings: int
    reused: int
    failures: tuple[tuple[Row, str], ...]

    def __str__(self) -> str:
        lines = [f"{self.out}: {self.recordings} recordings, {self.reused} of them from an earlier run"]
        for row, reason in self.failures:
            lines.append(f"failed {safe_name(row.label)}/{safe_name(row.title)} ({row.url}): {reason}")
        if self.failures:
            lines.append(f"{self.out / 'failures.csv'} lists what failed; the same command tries it again")
        return "\n".join(lines)


def download(
    listing: str | Path,
    out: str | Path = "downloads",
    *,
    retries: int = 3,
    rate_limit_kb_s: float | None = None,
    pause_s: float = 0.0,
    timeout_s: float = 30.0,
    limit_s: float = 3600.0,
    allow_private: bool = False,
    progress: bool = True,
) -> DownloadReport:
    """Fetches the recordings of a list as `out/LABEL/TITLE.mp3`: the best sound there is, at 192 kbit/s.

    What is an mp3 already stays as it is. A file that exists is not fetched again, nor overwritten; two titles
    that would be one file are told apart by a number. A row with the label and the url of another is the same
    recording. One that fails does not stop the others.

    Args:
        listing: a CSV file, see `read_list`.
        retries: further attempts after a connection or a server failed; each goes on where the last one stopped.
        rate_limit_kb_s: at most so many kilobytes (1000 bytes) a second; None is no limit.
        pause_s: seconds to wait between two recordings.
        timeout_s: seconds without a byte after which a connection has failed.
        limit_s: seconds that one recording may take.
        allow_private: also fetch from addresses of this machine and its own network, which a list, a redirection or a
            page may name.
        progress: a bar on stderr, if that is a terminal.

    Raises:
        InputError: as `read_list`; a value out of range; a broken `out/sources.json`.
        MissingDependencyError: yt-dlp or ffmpeg is not installed.
    """
    out = Path(out)
    for name, value, fine, expected in (
        ("retries", retries, retries >= 0, "at least 0"),
        ("rate_limit_kb_s", rate_limit_kb_s, rate_limit_kb_s is None or 0 < rate_limit_kb_s < math.inf, "above 0"),
        ("pause_s", pause_s, 0 <= pause_s < math.inf, "at least 0 s"),
        ("timeout_s", timeout_s, 0 < timeout_s < math.inf, "above 0 s"),
        ("limit_s", limit_s, 0 < limit_s < math.inf, "above 0 s"),
    ):
        if not fine:
            raise InputError(f"{name} is {value}; expected {expected}")
    if os.path.expandvars(out.absolute()) != str(out.absolute()):
        raise InputError(f"{out.absolute()} holds a variable's name, which yt-dlp would replace; name another folder")
    rows = read_list(listing)
    yt_dlp = _yt_dlp()
    plan = _plan(rows, out)
    todo = {file: row for file, row in plan.items() if not (out / file).exists()}
    for file in plan:
        (out / file).parent.mkdir(parents=True, exist_ok=True)

    options = {
        "format": "bestaudio/best",
        "ffmpeg_location": str(out),  # none: it would open what a play list names
        "socket_timeout": timeout_s,
        "ratelimit": rate_limit_kb_s and rate_limit_kb_s * 1000,
        "skip_unavailable_fragments": False,  # a hole in a recording is a failure
        "fragment_retries": retries,
        "noplaylist": True,
        "playlist_items": "1:2",  # enough to see that it is a list
        "match_filter": _refuse_lists,
        "fixup": "never",  # the conversion reads everything as it comes
        "cachedir": False,
        "quiet": True,
        "noprogress": True,
        "no_color": True,
    }
    with _addresses(allow_private):
        failures = _fetch_all(yt_dlp, options, todo, out, retries, pause_s, limit_s, progress)
    write_text(out / "failures.csv", _failure_list(failures))
    return DownloadReport(out, len(plan) - len(failures), len(plan) - len(todo), tuple(failures))


def read_list(path: str | Path) -> list[Row]:
    """Reads a list of recordings: CSV, UTF-8, a header that names label, title and url; other columns are ignored.

    Raises:
        InputError: not such a file; no row; rows without a label or an http(s) url, each with its line.
    """
    path = Path(path)
    rows: list[Row] = []
    wrong: list[str] = []
    try:
        lines = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        header = [name.strip().lower() for name in next(lines, [])]
        if missing := [name for name in COLUMNS if name not in header]:
            raise InputError(
                f"{path}, line 1, has no column {' nor '.join(missing)} (it says {', '.join(header) or 'nothing'}); "
                f"expected a header that names {', '.join(COLUMNS)}, with commas between"
            )
        for cells in lines:
            if any(map(str.strip, cells)):
                fields = dict(zip(header, map(_from_cell, cells), strict=False))
                rows.append(Row(*(fields.get(name, "") for name in COLUMNS)))
                if problem := _problem(rows[-1]):
                    wrong.append(f"\n  line {lines.line_num} {problem}")
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); expected a CSV file in UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num}, is no CSV ({error}); export it again as CSV") from error
    if wrong:
        more = f"\n  and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise InputError(f"{path} has {len(wrong)} rows that cannot be fetched:{''.join(wrong[:10])}{more}")
    if not rows:
        raise InputError(f"{path} lists no recording; expected a row with label, title and url for each")
    return rows


def _from_cell(text: str) -> str:
    """The inverse of `_as_cell`."""
    text = text.strip()
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text


def _as_cell(text: str) -> str:
    """Text that a spreadsheet takes for no formula."""
    return f"'{text}" if text[:1] in _FORMULA else text


def _problem(row: Row) -> str | None:
    if not row.label:
        return "has no label; expected the instrument's name"
    if not row.url:
        return "has no url; expected https://..."
    try:
        parts = urlsplit(row.url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    return None if fine else f"has the url {row.url!r}; expected http(s)://... (a title with a comma needs quotes)"


# names ----------------------------------------------------------------------------------------------


def safe_name(text: str) -> str:
    """A name for a file or folder on any system, as near to `text` as can be; the same text gives the same name.

    Unicode stays, in its composed form (NFC). `/ \\ : * ? " < > |` become `_`; control and invisible characters
    go; so do dots and spaces at either end, and what is beyond `MAX_NAME_BYTES` bytes of UTF-8. A name that
    Windows reserves gets a `_` before it; if nothing is left, it is "untitled".
    """
    text = " ".join(text.split())
    text = "".join(c for c in text if c in _JOINERS or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    text = re.sub(r'[/\\:*?"<>|]', "_", unicodedata.normalize("NFC", text))
    text = " ".join(text.split()).strip(" ." + _JOINERS)
    return _cut(f"_{text}" if _RESERVED.fullmatch(text) else text or "untitled", MAX_NAME_BYTES)


def _cut(name: str, max_bytes: int) -> str:
    return name.encode()[:max_bytes].decode(errors="ignore").rstrip(" ." + _JOINERS)


def _names(title: str) -> Iterator[str]:
    """The name for a title, then others should it be taken."""
    name = safe_name(title)
    yield name
    for number in itertools.count(2):
        end = f" ({number})"
        yield _cut(name, MAX_NAME_BYTES - len(end)) + end


def _fold(name: str) -> str:
    """Alike for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name.casefold())


def _plan(rows: Sequence[Row], out: Path) -> dict[str, Row]:
    """The file of each recording, below `out`; written to `out/sources.json` before any is fetched."""
    path = out / "sources.json"
    sources = _read_sources(path)
    listed = {row.url for row in rows}
    sources = {file: url for file, url in sources.items() if url in listed or (out / file).exists()}
    labels = {_fold(file.partition("/")[0]): file.partition("/")[0] for file in sources}
    files = {(file.partition("/")[0], url): file for file, url in sources.items()}
    taken = set(map(_fold, sources))
    plan: dict[str, Row] = {}
    names: dict[tuple[str, str], Iterator[str]] = {}  # those that are left for a title
    for row in rows:
        label = safe_name(row.label)
        label = labels.setdefault(_fold(label), label)
        if (label, row.url) not in files:
            # A file that is there and has no address yet is taken for this one.
            left = names.setdefault((label, safe_name(row.title)), _names(row.title))
            file = next(file for name in left if _fold(file := f"{label}/{name}.mp3") not in taken)
            taken.add(_fold(file))
            files[label, row.url] = file
            sources[file] = row.url
        plan.setdefault(files[label, row.url], row)
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(sources, indent=1, ensure_ascii=False) + "\n")
    return plan


def _read_sources(path: Path) -> dict[str, str]:
    try:
        sources = {str(file): str(url) for file, url in json.loads(path.read_text(encoding="utf-8")).items()}
        for file in sources:
            label, _, name = file.partition("/")
            if file != f"{safe_name(label)}/{safe_name(name.removesuffix('.mp3'))}.mp3":
                raise ValueError(f"it has the name {file!r:.100}")
        return sources
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is broken ({error}); expected the address of each file. Remove it: files then belong to the "
            "rows of their titles"
        ) from error


# fetching -------------------------------------------------------------------------------------------


def _yt_dlp() -> Any:
    try:
        import yt_dlp
    except ImportError as error:
        raise MissingDependencyError(f"downloads need yt-dlp ({error}): pip install 'timbrel[data]'") from error
    return yt_dlp


@contextmanager
def _addresses(allow_private: bool) -> Iterator[None]:
    """Lets this process connect to public addresses alone, also where a server redirects it, unless all are allowed."""
    resolve = socket.getaddrinfo
    proxies = {urlsplit(proxy).hostname for proxy in urllib.request.getproxies().values()}

    def public(host: Any, *args: Any, **options: Any) -> Any:
        places = resolve(host, *args, **options)
        name = host.decode() if isinstance(host, bytes) else host
        if name not in proxies and not all(
            ip_address(str(place[4][0]).partition("%")[0]).is_global for place in places
        ):
            raise socket.gaierror(
                f"{name} is an address of this machine or its own network, from which nothing is fetched without "
                "--allow-private (allow_private=True)"
            )
        return places

    if not allow_private:
        socket.getaddrinfo = public
    try:
        yield
    finally:
        socket.getaddrinfo = resolve


def _refuse_lists(info: Mapping[str, Any], *, incomplete: object) -> None:
    """What yt-dlp asks before it fetches."""
    if (info.get("n_entries") or 1) > 1:
        raise AudioError("it is a list of several recordings; expected one: give each a row")
    if info.get("is_live") or info.get("live_status") == "is_upcoming":
        raise AudioError("it is a live stream; expected a recording with an end")


def _fetch_all(
    yt_dlp: Any,
    options: dict[str, Any],
    todo: Mapping[str, Row],
    out: Path,
    retries: int,
    pause_s: float,
    limit_s: float,
    progress: bool,
) -> list[tuple[Row, str]]:
    """Fetches every file; returns those that fail."""
    from tqdm import tqdm

    failures = []
    partial = out / ".partial"
    with tqdm(total=len(todo), unit="file", disable=None if progress else True) as bar:

        def show(status: dict[str, Any]) -> None:
            if status.get("downloaded_bytes", 0) > MOST_BYTES:  # a radio station, say, that does not say it is live
                raise AudioError(f"it goes on after {MOST_BYTES / 1e9:g} GB; expected a recording with an end")
            bar.set_postfix_str(f"{status.get('downloaded_bytes', 0) / 1e6:.1f} MB")

        for index, (file, row) in enumerate(todo.items()):
            bar.set_description(Path(file).stem[:30])
            if index:
                time.sleep(pause_s)
            folder = partial / hashlib.sha256(f"{file}\n{row.url}".encode()).hexdigest()[:16]
            folder.mkdir(parents=True, exist_ok=True)
            try:
                made = _fetch(yt_dlp, options, row.url, folder, retries, show, time.monotonic() + limit_s)
                os.replace(made, out / file)
                shutil.rmtree(folder)
            except Exception as error:  # whatever is wrong with one address, the others go on
                name = "" if isinstance(error, AudioError) else f"{type(error).__name__}: "
                failures.append((row, " ".join(f"{name}{error}".split())))
            bar.update()
    for folder in (*partial.glob("*"), partial):  # what is not empty goes on next time
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return failures


def _fetch(
    yt_dlp: Any,
    options: dict[str, Any],
    url: str,
    folder: Path,
    retries: int,
    show: Callable[[dict[str, Any]], None],
    end: float,
) -> Path:
    """Fetches and converts one recording in `folder`, until the monotonic clock says `end`. Returns the mp3."""
    log = _Log()
    fetched: list[str] = []
    options = options | {
        "outtmpl": str(folder.absolute()).replace("%", "%%") + "/source.%(ext)s",
        "logger": log,
        "progress_hooks": [show],
        "post_hooks": [fetched.append],
    }
    with yt_dlp.YoutubeDL(options) as downloader:
        open_ = downloader.urlopen
        downloader.urlopen = lambda request: _bounded(open_(request), end)
        for attempt in itertools.count():
            try:
                downloader.extract_info(url)
                break
            except yt_dlp.utils.DownloadError as error:
                if attempt >= retries or not _may_pass(yt_dlp, error):
                    raise AudioError(_reason(error, log.warnings)) from error
            time.sleep(min(RETRY_WAIT_S * 2**attempt, LONGEST_WAIT_S))
        if len(fetched) != 1:
            raise AudioError(f"{len(fetched)} recordings are there; expected one")
        try:
            to_mp3(Path(fetched[0]), made := folder / "made.mp3")
            with open_audio(made) as reader:
                next(reader.blocks(2**16))
        except AudioError as error:
            size = Path(fetched[0]).stat().st_size
            shutil.rmtree(folder)
            raise AudioError(
                f"the {size} bytes that are there are no recording that can be read ({error}); expected the address "
                "of a sound or video, or of a page with one"
            ) from error
    return made


def _bounded(response: Any, end: float) -> Any:
    """Lets a response be read up to a time, and a page up to a size. It is read in pieces so small that a slow one does
    not take long."""
    read, piece = response.read, 64

    def bounded(size: int | None = None) -> bytes:
        nonlocal piece
        parts, left = [], _MOST_PAGE_BYTES + 1 if size is None or size < 0 else size
        while left:
            begin = time.monotonic()
            if begin > end:
                raise AudioError("it takes too long (limit_s); expected a server that sends faster")
            if not (part := read(min(left, piece))):
                break
            piece = min(2 * piece, 1 << 18) if time.monotonic() - begin < 0.5 else 64
            parts.append(part)
            left -= len(part)
        if not left and (size is None or size < 0):
            raise AudioError(
                f"the page has over {_MOST_PAGE_BYTES / 1e6:g} MB; expected a recording, or a page with one"
            )
        return b"".join(parts)

    response.read = bounded
    return response


class _Log:
    """Takes what yt-dlp says; warnings may explain a failure."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        pass

    info = error = debug

    def warning(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)


def _may_pass(yt_dlp: Any, error: Any) -> bool:
    """Whether another attempt may succeed: a connection that failed or broke off, a server that is busy."""
    errors = yt_dlp.networking.exceptions
    cause = error.exc_info[1] if error.exc_info else None
    if "--allow-private" in str(error):
        return False
    if isinstance(cause, errors.HTTPError):
        return cause.status in (408, 425, 429) or cause.status >= 500
    return cause is None or isinstance(cause, errors.TransportError)


def _reason(error: Exception, warnings: Sequence[str]) -> str:
    """yt-dlp's message without what is only for its own developers."""
    said = str(error).removeprefix("ERROR: ").partition(" (caused by ")[0].partition("; please report this")[0].strip()
    return said + (f" (yt-dlp warned: {'; '.join(warnings)})" if warnings else "")


def _failure_list(failures: Sequence[tuple[Row, str]]) -> str:
    """A list that `read_list` reads, with a column more."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "reason"])
    writer.writerows(map(_as_cell, (row.label, row.title, row.url, reason)) for row, reason in failures)
    return text.getvalue()
