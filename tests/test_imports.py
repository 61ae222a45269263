"""Imports point one way (docs: the layout), read from the sources without importing anything."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import timbrel

SOURCE = Path(timbrel.__path__[0])
LAYERS = [  # a part may import itself and those in the lines above it
    {"errors"},
    {"bounds", "files", "parallel", "instruments"},
    {"audio", "models", "diffusion"},
    {"data", "systems"},
    {"pipelines"},
    {"training", "metrics"},
    {"experiments"},
    {"timbrel"},  # the public API
    {"web"},
    {"cli"},
    {"__main__"},
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
CORE = {
    "torch",
    "numpy",
    "scipy",
    "soundfile",
    "soxr",
    "imageio_ffmpeg",
    "safetensors",
    "lazy_loader",
    "platformdirs",
    "tyro",
    "tqdm",
    "rich",
}


def module_name(path: Path) -> str:
    parts = ("timbrel", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports(module: str, *, top_level: bool = False) -> Iterator[str]:
    """Names of the modules that `module` imports: all, or only those that importing it imports."""

    def nodes(node: ast.AST) -> Iterator[ast.AST]:
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not (top_level and (lazy or typing)):
            yield node
            for child in ast.iter_child_nodes(node):
                yield from nodes(child)

    package = module.split(".")[: None if MODULES[module].name == "__init__.py" else -1]
    for node in nodes(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) + 1 - node.level], *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES else base


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def chain(module: str) -> set[str]:
    """Everything outside timbrel that importing `module` imports, by its first name."""
    outside: set[str] = set()
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        while name and name not in seen:  # importing a module imports its packages too
            seen.add(name)
            if name not in MODULES:
                break
            for found in imports(name, top_level=True):
                if found.split(".")[0] == "timbrel":
                    todo.append(found)
                else:
                    outside.add(found.split(".")[0])
            name = name.rpartition(".")[0]
    return outside


def test_every_part_has_its_place():
    assert {part(module) for module in MODULES} <= RANK.keys()
    assert {"audio", "models", "diffusion", "data"} <= {part(module) for module in MODULES}


def test_imports_point_one_way():
    wrong = [
        f"{module} imports {found}"
        for module in MODULES
        for found in imports(module)
        if found.split(".")[0] == "timbrel" and part(found) != part(module) and RANK[part(found)] >= RANK[part(module)]
    ]
    assert not wrong


def test_a_pipeline_imports_nothing_beyond_the_core():
    for module in MODULES:
        if part(module) in ("pipelines", "systems", "audio", "models", "diffusion", "timbrel"):
            assert chain(module) - set(sys.stdlib_module_names) <= CORE, module


def test_help_needs_no_torch():
    if "timbrel.cli.main" in MODULES:
        assert "torch" not in chain("timbrel.cli.main")
