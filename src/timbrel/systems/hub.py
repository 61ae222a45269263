"""A model folder <-> a repository of the Hugging Face hub, which has the folder's files and a card with front matter.

Of a repository nothing but safetensors, JSON and Markdown is fetched, and of those what lies at its top: a file that
could run code stays where it is. Its size is asked for first. What was fetched is then read like any other model
folder, with its checks. A network that a model takes from elsewhere is fetched only where the user names it.
"""

from __future__ import annotations

import math
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from timbrel.errors import InputError, MissingDependencyError, ModelError
from timbrel.files import exists, whole_folder
from timbrel.systems.folder import PRETRAINED, Description, describe
from timbrel.systems.stable_painter import read_painter_settings

FILES = ("*.safetensors", "*.json", "*.md")
MOST_MEGABYTES = 500
NAME = re.compile(r"[\w.-]+/[\w.-]+")
TASKS = {"transfer": "audio-to-audio", "report_001": "audio-to-audio", "single": "audio-to-audio"}
TASKS |= {"generate": "text-to-audio"}
USE = """
## Use

```bash
pip install "timbrel[hub]"
timbrel pull {repository} -o {name}
timbrel models {name}
```
"""
USED = re.compile(re.escape(USE.strip().format(repository="@", name="@")).replace("@", r"\S+"))  # of any model


def fetch(
    repository: str,
    *,
    revision: str | None = None,
    cached: bool = False,
    most_megabytes: float = MOST_MEGABYTES,
    sources: Sequence[str] = (),
) -> Path:
    """The folder of a repository's files in the hub's cache on this machine.

    Args:
        repository: USER/NAME.
        revision: a branch, tag or commit; None is main.
        cached: what is there already, if anything, without asking the hub for what is newer.
        most_megabytes: how large its files may be together.
        sources: repositories, folders or files, from which the model may read its parts.

    Raises:
        InputError: a name of another form; the model reads from another source.
        ModelError: there is no such repository, or no network; it is too large, or of unknown size.
        MissingDependencyError: the extra [hub] is not installed.
    """
    _check(repository)
    hub = _package()
    get = partial(hub.snapshot_download, repository, allow_patterns=list(FILES), ignore_patterns=["*/*"])
    if cached:
        with suppress(OSError, ValueError):  # nothing is there
            folder = Path(get(revision=revision, local_files_only=True))
            if _is_whole(folder):
                return _without_others(folder, repository, sources)
    with _reaching(repository):
        files = get(revision=revision, dry_run=True)
    _check_size(files, repository, most_megabytes)
    with _reaching(repository):  # the commit that was checked: the branch may have moved on
        folder = Path(get(revision=files[0].commit_hash if files else revision))
    return _without_others(folder, repository, sources)


def _check_size(files: Sequence[Any], repository: str, most_megabytes: float) -> None:
    sizes = [file.file_size for file in files]
    megabytes = math.inf if None in sizes else sum(sizes) / 1e6
    if megabytes > most_megabytes:
        known = math.isfinite(megabytes)
        raise ModelError(
            f"{repository} has {f'{megabytes:.3g} MB' if known else 'files of unknown size'}; expected at most "
            f"{most_megabytes:g} MB. If that is right: timbrel pull {repository} -o DIR --most-megabytes "
            f"{math.ceil(megabytes) if known else 'inf'}"
        )


def _without_others(folder: Path, repository: str, sources: Sequence[str]) -> Path:
    """The folder, if all its parts are in it, or where the user said."""
    for name, source in _others(folder):
        if source not in sources:
            what = f"{repository} takes its part {name!r} from {source!r:.200}, which its author chose; expected it in "
            what += "the repository"
            if source.isprintable() and len(source) <= 200:  # the text is a stranger's, and the remedy may be pasted
                what += f". Where that source is to be trusted: timbrel pull {repository} -o DIR --sources "
                what += shlex.quote(source)
            raise InputError(what)
    return folder


def _others(folder: Path) -> Iterator[tuple[str, str]]:
    """Parts that config.json and timbrel.json take from elsewhere, and from where."""
    with suppress(ModelError):  # no model: whoever reads it says what is wrong
        for name, part in describe(folder).parts.items():
            if (source := getattr(part.config, "source", None)) is not None:
                yield name, source
    with suppress(ModelError):  # no painter over Stable Diffusion
        yield from read_painter_settings(folder).sources().items()


def pull(
    repository: str,
    folder: str | Path,
    *,
    revision: str | None = None,
    most_megabytes: float = MOST_MEGABYTES,
    sources: Sequence[str] = (),
) -> None:
    """Copies a model of the hub into a new folder, whole or not at all; arguments and errors as `fetch`.

    Raises:
        InputError: the folder exists.
        ModelError: it is no model, or a broken one.
    """
    if exists(folder):
        raise InputError(f"{folder} exists; name a new folder")
    fetched = fetch(repository, revision=revision, most_megabytes=most_megabytes, sources=sources)
    if not (fetched / "config.json").is_file():
        raise ModelError(f"{repository} has no config.json: it is no model of timbrel's")
    Path(folder).absolute().parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as place:
        _copy(fetched, place)
        try:
            describe(place).load()
        except ModelError as error:
            raise ModelError(str(error).replace(str(place), repository)) from error


def push(folder: str | Path, repository: str, *, licence: str | None = None, private: bool = False) -> str:
    """Puts a model folder on the hub, with a card that says how to use it; makes the repository where there is none.

    Args:
        folder: a model folder, or the name of a model that ships.
        repository: USER/NAME.
        licence: as the hub names it: "mit", "cc-by-4.0". None is that of the folder's card.
        private: a repository that is made is not public.

    Returns:
        The repository's address.

    Raises:
        InputError: a name of another form; no licence is known; the card's front matter cannot be read.
        ModelError: the folder is no model; or the hub refuses it.
        MissingDependencyError: the extra [hub] is not installed.
    """
    _check(repository)
    described = describe(folder)
    described.load()
    hub = _package()
    with TemporaryDirectory(prefix="timbrel-") as folder_of_copy:
        place = Path(folder_of_copy)
        _copy(described.folder, place)
        (place / "README.md").write_text(card(hub, described, repository, licence), encoding="utf-8")
        with _reaching(repository):
            api = hub.HfApi(library_name="timbrel")
            url = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=place, commit_message="timbrel push")
    return str(url)


def card(hub: Any, described: Description, repository: str, licence: str | None) -> str:
    """The folder's model card, with the front matter that the hub reads, and how to get the model."""
    path, name = described.folder / "README.md", repository.rpartition("/")[2]
    info, is_shipped = described.info, described.folder.parent == PRETRAINED
    plain = f"# {name}\n\n{info.get('purpose', described.name)}\n\nTraining: {info.get('training', 'unknown')}\n"
    text = path.read_text(encoding="utf-8") if path.exists() else plain
    try:
        written = hub.ModelCard(text if text.startswith("---") else f"---\nlibrary_name: timbrel\n---\n{text}")
    except Exception as error:  # of the YAML library
        reason = textwrap.shorten(str(error), 200)
        raise InputError(f"{path} has front matter that cannot be read ({reason}); expected YAML") from error
    data = written.data
    data.license = licence or data.license or ("mit" if is_shipped else None)
    if data.license is None:
        raise InputError(f"{described.folder} says no licence; give one as the hub names it, such as --license mit")
    data.library_name = "timbrel"
    data.pipeline_tag = data.pipeline_tag or TASKS.get(described.name)
    data.tags = sorted({*(data.tags or ()), "timbrel", "music", described.name.replace("_", "-")})
    use = USE.format(repository=repository, name=name)
    whole = USED.sub(lambda _: use.strip(), str(written))
    return whole if "timbrel pull" in whole else whole + use


def _check(repository: str) -> None:
    if not NAME.fullmatch(repository):
        raise InputError(f"{repository!r:.100} names no repository of the hub; expected USER/NAME")


def _copy(source: Path, place: Path) -> None:
    for pattern in FILES:
        for path in source.glob(pattern):
            shutil.copyfile(path, place / path.name)


def _is_whole(folder: Path) -> bool:
    """Whether a folder has a config.json and the weights of all its parts: a download may have been cut short."""
    try:
        return all(part.weights.is_file() for part in describe(folder).parts.values())
    except ModelError:
        return False


def _package() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependencyError(f"the hub needs huggingface_hub ({error}): pip install 'timbrel[hub]'") from error
    return huggingface_hub


@contextmanager
def _reaching(repository: str) -> Iterator[None]:
    """Errors of huggingface_hub and of the network become a ModelError."""
    try:
        yield
    except Exception as error:  # of the HTTP library, whichever it is
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise ModelError(
            f"{repository} on the hub cannot be reached ({reason}); expected a repository that this account may use "
            "(`hf auth login`), and a network, with HF_HUB_OFFLINE unset"
        ) from error
