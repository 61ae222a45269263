"""The one way to write: a file or a folder is there whole, or not at all.

Content is written under a temporary name in the same folder, and renamed at the end. An exception, Ctrl-C included,
removes the temporary file. A killed process leaves it behind. The next process that writes into the folder removes it:
the temporary name holds the number of the process that made it.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from timbrel.errors import InputError

_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"  # a process number says nothing about another machine's
_TEMPORARY = re.compile(rf"\.timbrel-{_MACHINE}-(\d+)-")


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether something has that name, a link to nothing included."""
    return os.path.lexists(path)


@contextmanager
def whole(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path`, of the same suffix, for a file. The file becomes `path` at the end.

    Raises:
        InputError: `path` exists at the end, and `overwrite` is False.
        OSError: `path` cannot be written.
    """
    path = Path(path)
    temporary = _temporary(path.parent, path.suffix)
    try:
        yield temporary
        _place(temporary, path, overwrite)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """Writes a small file; errors as `whole`."""
    with whole(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str, *, overwrite: bool = True) -> None:
    """Writes a small file in UTF-8; errors as `whole`."""
    write_bytes(path, text.encode(), overwrite=overwrite)


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a new folder beside `path`. The folder becomes `path` at the end, in place of an old one."""
    path = Path(path)
    with temporary_folder(path.parent) as folder:
        new, old = folder / "new", folder / "old"
        new.mkdir()
        yield new
        try:
            if path.exists():
                path.rename(old)
            new.rename(path)
        finally:
            if old.exists() and not path.exists():
                old.rename(path)


@contextmanager
def temporary_folder(place: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a new folder in the folder `place`, and removes it at the end with all that is in it."""
    folder = _temporary(Path(place))
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Lets one process at a time pass, to read, change and write back the file `path`. Makes the file's folder. Where
    the system has no such locks, no process waits."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as file:
        with suppress(ImportError, OSError):  # Windows; a network folder without locks
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def claimed(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps a folder for one run at a time: makes it if it is missing, and removes what is empty at the end. Where the
    system has no such locks, nobody is kept away.

    Raises:
        InputError: another run has the folder, or it is a file.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder, new or of an earlier run")
    with ExitStack() as stack:
        if not folder.exists():
            folder.mkdir(parents=True)
            stack.callback(_remove_if_empty, folder)
        with suppress(ImportError, PermissionError):  # Windows; a folder that only lets others in
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"another run works in {folder}; expected one at a time: wait for its end, or name another folder"
                ) from error
            except OSError:  # a network folder without locks
                pass
        yield


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _temporary(folder: Path, suffix: str = "") -> Path:
    _remove_leftovers(folder)
    return folder / f".timbrel-{_MACHINE}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


def _place(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        try:
            os.link(temporary, path)  # in one step, and not onto a file that another process has made meanwhile
        except FileExistsError:
            raise
        except OSError:  # no hard links here: an empty file claims the name
            path.open("x").close()
            try:
                os.replace(temporary, path)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except FileExistsError as error:
        raise InputError(f"{path} exists; name another file, or overwrite it (--overwrite, overwrite=True)") from error


@lru_cache(maxsize=256)  # once a process and folder: a folder may hold many files
def _remove_leftovers(folder: Path) -> None:
    with suppress(OSError):
        for path in list(folder.iterdir()):
            match = _TEMPORARY.match(path.name)
            if match and not _alive(int(match[1])):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
