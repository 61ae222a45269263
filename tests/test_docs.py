"""What the README and docs/ name exists: commands with their flags, links, and the lists that are code elsewhere."""

import functools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from timbrel.cli import main
from timbrel.data.render import LIBRARIES
from timbrel.data.scores import CORPUS_LICENCES
from timbrel.data.splits import HELD_OUT_COMPOSERS, HELD_OUT_LIBRARIES
from timbrel.experiments.benchmark import manifest, measures
from timbrel.systems.folder import DEFAULT_MODEL, PRETRAINED
from tools import docs

ROOT = Path(__file__).parents[1]
PAGES = {
    name: (ROOT / name).read_text()
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
        "examples/README.md",
    )
}
FIRST = "pip install -c constraints.txt . && timbrel transfer examples/piano.flac --to violin"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Page and words of every command in a block of bash."""
    for name, text in PAGES.items():
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for command in line.split("&&"):
                    if words := shlex.split(command, comments=True):
                        yield name, words


COMMANDS = list(commands())
TIMBREL = [(name, words[words.index("timbrel") + 1 :]) for name, words in COMMANDS if "timbrel" in words]


def marked(page_name: str, mark: str) -> str:
    """What stands between <!-- mark --> and <!-- /mark -->."""
    found = re.search(rf"<!-- {mark} -->\n(.*?)\n<!-- /{mark} -->", PAGES[page_name], re.DOTALL)
    assert found is not None
    return found[1]


def cells(table: str) -> list[list[str]]:
    """The rows of a table below its head."""
    return [[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize(("name", "words"), TIMBREL, ids=[" ".join(words) for _, words in TIMBREL])
def test_the_command_line_takes_the_command(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch):
    called = []
    for verb, target in main.VERBS.items():
        if callable(target):
            stub = functools.wraps(target)(lambda *args, verb=verb, **kwargs: called.append(verb))
            monkeypatch.setitem(main.VERBS, verb, stub)
    code = main.main(words)
    assert code == 0
    if "--help" not in words:
        assert len(called) == 1
        assert called[0].split() == words[: len(called[0].split())]


def test_other_commands_are_known():
    assert TIMBREL
    for name, words in COMMANDS:
        if "timbrel" not in words:
            assert words[0] in ("curl", "pip", "pytest", "ruff", "mypy", "python"), f"{name}: {words}"
        if words[0] == "pip" and "." in words[-1][:1]:
            extras = re.findall(r"[a-z]+", words[-1])
            project = (ROOT / "pyproject.toml").read_text()
            assert all(f"\n{extra} = [" in project for extra in extras), words
            assert words[2:4] == ["-c", "constraints.txt"]


def test_the_first_command_is_the_promised_one():
    assert f"\n{FIRST}\n" in PAGES["README.md"]


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str):
    shipped = (PRETRAINED / DEFAULT_MODEL / "config.json").exists()
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        if path == "docs/transfer.png" and not shipped:
            continue  # a picture of a real result takes a real model
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name} names {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target


@pytest.mark.parametrize("name", PAGES)
def test_files_named_in_code_exist(name: str):
    for path in re.findall(r"`((?:src|docs|examples|benchmarks|tools)/[\w./-]+)`", PAGES[name]):
        assert (ROOT / path).exists(), f"{name} names {path}"
    for path in re.findall(r"`((?:audio|models|diffusion|experiments)/[\w.]*)`", PAGES[name]):
        assert (ROOT / "src" / "timbrel" / path).exists(), f"{name} names {path}"


def test_the_readme_leads_to_every_page():
    for name in PAGES:
        assert name == "README.md" or f"]({name})" in PAGES["README.md"]


def test_licences_are_those_of_the_code():
    assert cells(marked("docs/data.md", "corpus")) == [[name, why] for name, why in CORPUS_LICENCES.items()]
    held_out = {name: "the benchmark alone" for name in HELD_OUT_LIBRARIES}
    assert cells(marked("docs/data.md", "libraries")) == [
        [x.name, x.package, x.family, x.licence, held_out.get(x.name, "training")] for x in LIBRARIES.values()
    ]
    assert re.split(r",\s+", marked("docs/data.md", "held out")) == list(HELD_OUT_COMPOSERS)


def test_the_benchmark_is_as_described():
    text = PAGES["docs/benchmark.md"]
    scores = {excerpt.score for t in manifest.triplets() for excerpt in (t.content, t.style)}
    assert f"{len(manifest.triplets())} *triplets*" in text
    assert f"{len(scores)} scores" in text
    assert {column.heading for column in measures.COLUMNS} >= {"LSD dB", "detail", "both at once"}


@pytest.mark.parametrize("page_name", sorted({page for page, _ in docs.blocks()}))
def test_measured_tables_are_those_of_the_figures(page_name: str):
    """`python -m tools.docs` writes them."""
    text = (ROOT / page_name).read_text()
    for (page, name), block in docs.blocks().items():
        if page == page_name:
            text = docs.filled(text, name, block())
    assert text == (ROOT / page_name).read_text()


def test_prose_says_what_the_figures_say():
    rows = json.loads((ROOT / docs.MODELS / "default" / "benchmark.json").read_text())["rows"]
    readme = " ".join(PAGES["README.md"].split())

    def share(row: str, instrument: str) -> float:
        heard = [m["heard_as"] for name, m in rows[row]["directions"].items() if name.endswith(f"-to-{instrument}")]
        return 100 * sum(heard) / len(heard)

    weakest = min(("piano", "guitar", "harp", "violin"), key=lambda name: share("model-clip", name))
    assert f"weakest to the {weakest} with a clip: {share('model-clip', weakest):.0f} % of the results" in readme
    assert f"by name, {share('model-name', weakest):.0f} % are" in readme
    figures = json.loads((PRETRAINED / DEFAULT_MODEL / "config.json").read_text())["info"]["figures"]
    measured = {"both_at_once" if name == "both" else name: row for name, row in rows["model-clip"].items()}
    for name, figure in figures.items():
        assert figure == pytest.approx(measured[name]["mean"], rel=0.01), name


def test_what_is_said_of_generated_sounds_is_what_was_measured():
    rows = json.loads((ROOT / docs.MODELS / "generate" / "evaluation.json").read_text())["rows"]
    made, real = (rows[row]["accuracy"]["mean"] for row in ("generated", "real"))
    readme = " ".join(PAGES["README.md"].split())
    assert (
        f"recognises {100 * made:.0f} % of what it makes, and {100 * real:.0f} % of real sounds, by their mels"
        in readme
    )
    figures = json.loads((PRETRAINED / "generate" / "config.json").read_text())["info"]["figures"]
    assert (figures["class_accuracy"], figures["class_accuracy_of_real"]) == pytest.approx((made, real), abs=1e-3)
