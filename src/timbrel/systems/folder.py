"""A model folder <-> a system, for every system alike.

config.json              the system's name, its settings, each part's class and settings, and `info`: what it is for,
                         how it was trained, measured figures, how it is best sampled
PART.safetensors         the weights of each part
instruments.safetensors  named instruments, for a system that has some
README.md                the model card

    {
      "system": "single",
      "instrument": "violin",
      "mel": {"sample_rate": 44100, ...},
      "schedule": {"kind": "cosine", ...},
      "codec": {"from": "default"},                  a part of a model that ships, which has its settings and weights
      "denoiser": {"class": "unet", "widths": ...},
      "info": {"purpose": ..., "training": ..., "figures": {...}}
    }

A folder may come from anywhere. So types and bounds of all settings are checked first. Then the networks are made
without memory, and compared with the names and shapes in the files. Only then weights are read.
"""

from __future__ import annotations

import dataclasses
import json
import pkgutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

import torch
from torch import nn

from timbrel.audio.mel import MelConfig
from timbrel.bounds import parse
from timbrel.errors import ModelError, TimbrelError
from timbrel.files import write_text
from timbrel.systems import HUB, SYSTEMS
from timbrel.systems.base import Sampling, StyleTransfer, System
from timbrel.systems.named import load_instruments, save_instruments
from timbrel.systems.weights import check_weights, load_weights, save_weights

PRETRAINED = Path(__file__).parents[1] / "pretrained"
DEFAULT_MODEL = "default"
MAX_CONFIG_BYTES = 1 << 20
INFO: Mapping[str, type] = {"purpose": str, "training": str, "figures": dict, "sampling": Sampling}

Kind = TypeVar("Kind", bound=System)
Network = TypeVar("Network", bound=nn.Module)


class Part(NamedTuple):
    """A network to be: its class, its settings, and the file of its weights."""

    network: type[nn.Module]
    config: Any
    weights: Path


@dataclass(frozen=True)
class Description:
    """What the config.json of a folder says, each value of its type and in its bounds."""

    folder: Path
    name: str
    system: type[System]
    settings: dict[str, Any]
    parts: dict[str, Part]
    info: dict[str, Any]

    def build(self) -> System:
        """The system, with networks on the meta device, that its files fit.

        Raises:
            ModelError: settings do not fit each other, or the files' tensors do not fit them.
        """
        try:
            with torch.device("meta"):
                parts = {name: part.config for name, part in self.parts.items()}
                if "codec" in parts:
                    parts["codec"] = self.parts["codec"].network(parts["codec"])
                system: System = self.system.build(**self.settings, **parts)
            system.info = self.info
            system.check()
        except (AssertionError, RuntimeError, TimbrelError, TypeError, ValueError) as error:
            raise ModelError(f"{self.folder}/config.json does not describe a system {self.name!r}: {error}") from error
        for name, part in self.parts.items():
            check_weights(part.weights, getattr(system, name))
        if isinstance(system, StyleTransfer):
            system.instruments = load_instruments(self.folder / "instruments.safetensors", system.token_width)
        return system

    def load(self) -> System:
        """The system with its weights, ready to use.

        Raises:
            ModelError: as `build`; or a file is broken, or holds what is not finite.
        """
        system = self.build()
        for name, part in self.parts.items():
            load_weights(part.weights, getattr(system, name))
        return system


def save_system(folder: str | Path, system: System, *, compact: bool = False) -> None:
    """Writes a model folder, config.json last. Buffers and `exact` parts are in float32, other weights in bfloat16, or
    `compact`, in about half of that (`save_weights`)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {"system": _system_name(type(system))}
    for name, value in system.settings().items():
        config[name] = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
    for name, classes in system.parts.items():
        network = getattr(system, name)
        exact = name in system.exact
        dtype = torch.float32 if exact else torch.bfloat16
        save_weights(folder / f"{name}.safetensors", network, dtype, compact=compact and not exact)
        short = next(short for short, kind in classes.items() if isinstance(network, kind))
        config[name] = {"class": short, **dataclasses.asdict(network.config)}
    if isinstance(system, StyleTransfer) and system.instruments:
        save_instruments(folder / "instruments.safetensors", system.instruments)
    config["info"] = json.loads(json.dumps(system.info), parse_constant=lambda _: None)  # JSON has no NaN
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def load_system(folder: str | Path | None = None, kind: type[Kind] = System) -> Kind:  # type: ignore[assignment]
    """Reads a model folder.

    Args:
        folder: a folder, or the name of a shipped model; None is "default", which transfers.
        kind: what it is expected to hold.

    Raises:
        ModelError: the folder is missing, broken or holds another system.
    """
    described = describe(DEFAULT_MODEL if folder is None else folder)
    if not issubclass(described.system, kind):
        names = " or ".join(repr(name) for name in SYSTEMS if issubclass(_system(name), kind))
        raise ModelError(f"{described.folder} holds a system {described.name!r}; expected {names}")
    return cast(Kind, described.load())


def load_codec(folder: str | Path, kind: type[Network]) -> tuple[MelConfig, Network]:
    """Reads the codec of a model folder or shipped model, and of nothing else there.

    Raises:
        ModelError: the folder is missing or broken, or holds no codec of that class.
    """
    described = describe(folder)
    part = described.parts.get("codec")
    if part is None or not issubclass(part.network, kind):
        there = "no codec" if part is None else f"a {part.network.__name__}"
        raise ModelError(f"{described.folder} holds {there}; expected a {kind.__name__}")
    mel = described.settings["mel"]
    alone = dataclasses.replace(described, system=_system("codec"), settings={"mel": mel}, parts={"codec": part})
    return mel, cast(Any, alone.load()).codec


def is_model(name_or_folder: str | Path) -> bool:
    """Whether there is a model folder, or a shipped model, of that name."""
    with suppress(ModelError):
        return resolve(name_or_folder).is_dir()
    return False


def resolve(name_or_folder: str | Path) -> Path:
    """The folder of a shipped model's name, the folder itself, or of hf:USER/NAME that of the hub's cache.

    Raises:
        ModelError: none exists; the shipped names are listed.
    """
    if str(name_or_folder).startswith(HUB):
        from timbrel.systems.hub import fetch

        return fetch(str(name_or_folder).removeprefix(HUB), cached=True)
    for folder in (Path(name_or_folder), PRETRAINED / str(name_or_folder)):
        with suppress(OSError):  # a name too long for a file
            if (folder / "config.json").is_file():
                return folder
    shipped = sorted(p.parent.name for p in PRETRAINED.glob("*/config.json"))
    raise ModelError(
        f"model {str(name_or_folder)!r:.200} is neither a model folder (with a config.json) nor a shipped model "
        f"({', '.join(shipped) or 'none ship'})"
    )


def describe(name_or_folder: str | Path) -> Description:
    """Reads and checks a folder's config.json alone.

    Raises:
        ModelError: the folder is missing; its config.json is broken, or has a value of another type or out of bounds.
    """
    folder = resolve(name_or_folder)
    try:
        return _describe(folder, read_config(folder))
    except ModelError as error:
        raise ModelError(f"{folder} is not a timbrel model: {error}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's config.json, an object of the present form in whose values there may be anything.

    Raises:
        ModelError: it cannot be read as such.
    """
    path = folder / "config.json"
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelError(f"config.json has {path.stat().st_size} bytes; expected at most {MAX_CONFIG_BYTES}")
        config = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, RecursionError, ValueError) as error:
        raise ModelError(f"config.json cannot be read ({error})") from error
    if type(config) is not dict:
        raise ModelError(f"config.json holds a {type(config).__name__}; expected an object")
    return config if "system" in config else _from_first_form(config)


def _refuse_constant(name: str) -> float:
    raise ModelError(f"config.json has the number {name}; expected finite ones")


def _from_first_form(config: dict[str, Any]) -> dict[str, Any]:
    """The config.json of timbrel 0.1.0, which had no "system", but a "kind" and, for the codec, an "architecture"."""
    kind, architecture = config.get("kind"), config.get("architecture", "default")
    systems = {("transfer", "report"): "report_001", ("transfer", "default"): "transfer"}
    codec = {"default": "mel-autoencoder", "report": "report-codec"}.get(str(architecture))
    name = systems.get((str(kind), str(architecture)), kind)
    rest = {key: value for key, value in config.items() if key not in ("kind", "architecture")}
    for part, classes in (_system(name).parts if type(name) is str and name in SYSTEMS else {}).items():
        if type(rest.get(part)) is dict:
            rest[part] = {"class": codec if part == "codec" else next(iter(classes)), **rest[part]}
    return {"system": name, **rest}


def _describe(folder: Path, config: dict[str, Any]) -> Description:
    name = config.pop("system")
    if type(name) is not str or name not in SYSTEMS:
        raise ModelError(f"the system is {name!r:.60}; expected one of {', '.join(SYSTEMS)}")
    system, info = _system(name), config.pop("info", {})
    for key, kind in INFO.items():
        if key in parse(dict, info, "info"):
            parse(kind, info[key], f"info.{key}")
    hints = get_type_hints(system.build, include_extras=True)
    expected = [key for key in hints if key != "return"]
    if config.keys() != set(expected):
        raise ModelError(f"config.json has {', '.join(config) or 'nothing'}; expected {', '.join(expected)}")
    parts = {key: _part(folder, system, key, config[key]) for key in system.parts}
    settings = {key: parse(hints[key], config[key], key) for key in expected if key not in parts}
    return Description(folder, name, system, settings, parts, info)


def _part(folder: Path, system: type[System], name: str, entry: Any) -> Part:
    """The part that an entry of config.json says, there or, with `from`, in the folder of a model that ships."""
    if "from" in parse(dict, entry, name):
        shipped = {path.parent.name: path.parent for path in PRETRAINED.glob("*/config.json")}
        if type(entry["from"]) is not str or entry["from"] not in shipped:
            raise ModelError(
                f"{name} is from {entry['from']!r:.60}, which does not ship; expected {', '.join(shipped)}"
            )
        if len(entry) > 1:
            raise ModelError(f"{name} is from {entry['from']}, and has {', '.join(entry)}; expected from alone")
        folder = shipped[entry["from"]]
        entry = parse(dict, read_config(folder).get(name), f"{name} from {folder.name}")
    classes, settings = system.parts[name], dict(entry)
    short = settings.pop("class", None)
    if type(short) is not str or short not in classes:
        raise ModelError(f"{name}.class is {short!r:.60}; expected {' or '.join(map(repr, classes))}")
    kind = get_type_hints(classes[short].__init__, include_extras=True)["config"]
    return Part(classes[short], parse(kind, settings, name), folder / f"{name}.safetensors")


def _system(name: str) -> type[System]:
    return pkgutil.resolve_name(SYSTEMS[name])


def _system_name(system: type[System]) -> str:
    place = f"{system.__module__}:{system.__qualname__}"
    for name, registered in SYSTEMS.items():
        if registered == place:
            return name
    raise TypeError(f"{place} is not registered: give it a line in timbrel.systems.SYSTEMS")
