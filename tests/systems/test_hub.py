"""A model goes to a hub and comes back. What is sent lands in a folder, which a server here shows as the hub does."""

import dataclasses
import hashlib
import json
import shutil
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import timbrel
from timbrel.errors import InputError, ModelError
from timbrel.systems import hub as model_hub
from timbrel.systems.folder import describe, resolve

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
COMMIT = "0" * 39 + "1"


class Hub(BaseHTTPRequestHandler):
    """What snapshot_download asks for: a repository's commit, its files, then each with its ETag."""

    def __init__(self, root: Path, asked: list[str], *args) -> None:
        self.root, self.asked = root, asked
        super().__init__(*args)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        kind, *rest = self.path.split("?")[0].strip("/").split("/")
        if kind == "api":
            self._api(self.root / "/".join(rest[1:3]), is_tree="tree" in rest)
        else:
            self._file(self.root / kind / rest[0], "/".join(rest[3:]))

    def _api(self, repository: Path, *, is_tree: bool) -> None:
        if not repository.is_dir():
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        names = {p: str(p.relative_to(repository)) for p in sorted(repository.rglob("*")) if p.is_file()}
        tree = [{"type": "file", "path": n, "size": p.stat().st_size, "oid": "0"} for p, n in names.items()]
        about = {"id": repository.name, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names.values()]}
        self._answer(200, json.dumps(tree if is_tree else about).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: Path, name: str) -> None:
        self.asked.append(name)
        body = (repository / name).read_bytes()
        self._answer(200, body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The folder of all repositories, and the names of the files that were asked for."""
    root = tmp_path / "hub"
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, root, asked))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def create(self, repo_id, *, private, exist_ok):
        (root / repo_id).mkdir(parents=True, exist_ok=exist_ok)
        return f"{address}/{repo_id}"

    def upload(self, *, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    yield root, asked
    server.shutdown()
    server.server_close()


def test_a_model_comes_back_as_it_went(hub, tiny_model_folder, tmp_path):
    root, _ = hub
    assert model_hub.push(tiny_model_folder, "anna/tiny", licence="cc-by-4.0").endswith("/anna/tiny")
    model_hub.pull("anna/tiny", tmp_path / "back")
    for path in tiny_model_folder.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes(), path.name
    assert timbrel.load("hf:anna/tiny").instruments == ["piano", "violin"]
    shutil.rmtree(root / "anna")
    assert timbrel.load("hf:anna/tiny").instruments, "what was fetched once needs no hub"


def test_what_was_fetched_in_part_is_fetched_whole(hub, tiny_model_folder):
    model_hub.push(tiny_model_folder, "anna/tiny", licence="mit")
    folder = resolve("hf:anna/tiny")
    for name in ("denoiser.safetensors", "config.json"):
        (folder / name).unlink()
        assert (resolve("hf:anna/tiny") / name).is_file()


def test_the_card_has_what_the_hub_reads(hub, tiny_model_folder, tmp_path):
    root, _ = hub
    folder = tmp_path / "mine"
    shutil.copytree(tiny_model_folder, folder)
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\ntags:\n- cello\n---\n# Mine\n\nIts story.\n")
    model_hub.push(folder, "anna/mine")
    card = huggingface_hub.ModelCard((root / "anna/mine/README.md").read_text())
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "cc0-1.0",
        "timbrel",
        "audio-to-audio",
    )
    assert card.data.tags == ["cello", "music", "timbrel", "transfer"]
    assert "Its story." in card.text
    assert "timbrel pull anna/mine" in card.text
    model_hub.pull("anna/mine", tmp_path / "back")
    model_hub.push(tmp_path / "back", "anna/again")
    again = (root / "anna/again/README.md").read_text()
    assert again.count("timbrel pull") == 1
    assert "timbrel pull anna/again -o again\ntimbrel models again\n" in again


def test_a_card_that_cannot_be_read_is_said(tiny_model_folder, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(tiny_model_folder, folder)
    (folder / "README.md").write_text("---\nlicense: [mit\n---\n# Mine\n")
    with pytest.raises(InputError, match=r"README\.md has front matter that cannot be read"):
        model_hub.push(folder, "anna/mine")


def test_nothing_that_could_run_is_fetched(hub, tiny_model_folder, tmp_path):
    root, asked = hub
    model_hub.push(tiny_model_folder, "anna/tiny", licence="mit")
    for name in ("evil.py", "weights.pt", "weights.pickle", "inner/config.json"):
        (root / "anna/tiny" / name).parent.mkdir(exist_ok=True)
        (root / "anna/tiny" / name).write_text("print('boo')")
    model_hub.pull("anna/tiny", tmp_path / "back")
    assert {Path(name).suffix for name in asked} == {".json", ".safetensors", ".md"}
    assert {path.suffix for path in (tmp_path / "back").iterdir()} == {".json", ".safetensors", ".md"}
    assert "inner/config.json" not in asked


def test_what_is_no_model_is_not_kept(hub, tiny_model_folder, tmp_path):
    root, _ = hub
    model_hub.push(tiny_model_folder, "anna/tiny", licence="mit")
    (root / "anna/tiny/denoiser.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"^anna/tiny/denoiser\.safetensors does not hold this model's weights"):
        model_hub.pull("anna/tiny", tmp_path / "back")
    (root / "anna/other").mkdir()
    (root / "anna/other/notes.md").write_text("nothing")
    with pytest.raises(ModelError, match=r"anna/other has no config\.json"):
        model_hub.pull("anna/other", tmp_path / "back")
    with pytest.raises(ModelError, match="anna/none on the hub cannot be reached"):
        model_hub.pull("anna/none", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_large_model_is_not_begun(hub, tiny_model_folder, tmp_path):
    root, _ = hub
    model_hub.push(tiny_model_folder, "anna/tiny", licence="mit")
    (root / "anna/tiny/more.safetensors").write_bytes(bytes(2_000_000))
    with pytest.raises(ModelError, match=r"anna/tiny has 2\.\d+ MB; expected at most 1 MB\. .* --most-megabytes 3"):
        model_hub.pull("anna/tiny", tmp_path / "back", most_megabytes=1)
    cached = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 1000]
    assert not cached
    model_hub.pull("anna/tiny", tmp_path / "back", most_megabytes=3)


def test_a_model_of_unknown_size_is_not_begun(hub, tiny_model_folder, tmp_path, monkeypatch):
    model_hub.push(tiny_model_folder, "anna/tiny", licence="mit")
    whole = huggingface_hub.snapshot_download

    def without_sizes(*args, dry_run=False, **options):
        made = whole(*args, dry_run=dry_run, **options)
        return [dataclasses.replace(file, file_size=None) for file in made] if dry_run else made

    monkeypatch.setattr(huggingface_hub, "snapshot_download", without_sizes)
    with pytest.raises(ModelError, match=r"has files of unknown size; expected at most 500 MB.* --most-megabytes inf$"):
        model_hub.pull("anna/tiny", tmp_path / "back")
    model_hub.pull("anna/tiny", tmp_path / "back", most_megabytes=float("inf"))


def test_what_is_fetched_is_the_commit_whose_size_was_checked(hub, tiny_model_folder, tmp_path, monkeypatch):
    model_hub.push(tiny_model_folder, "anna/tiny", licence="mit")
    whole, revisions = huggingface_hub.snapshot_download, []

    def noted(*args, revision, **options):
        revisions.append(revision)
        return whole(*args, revision=revision, **options)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", noted)
    model_hub.pull("anna/tiny", tmp_path / "back", revision="main")
    assert revisions == ["main", COMMIT]


@pytest.mark.parametrize(
    ("source", "remedy"), [("x; rm -rf ~", "--sources 'x; rm -rf ~'"), ("x\x1b[2J", ""), ("x" * 300, "")]
)
def test_a_strangers_text_is_safe_to_paste(hub, tiny_generator, tmp_path, source, remedy):
    root, _ = hub
    model_hub.push(tiny_generator, "anna/rain", licence="mit")
    config = json.loads((root / "anna/rain/config.json").read_text())
    config["text"] = {"class": "clip", "source": source, "width": 16}
    (root / "anna/rain/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="which its author chose") as caught:
        model_hub.pull("anna/rain", tmp_path / "back")
    said = str(caught.value)
    assert said.endswith(remedy or "expected it in the repository")
    assert said.isprintable()


def test_a_network_from_elsewhere_is_named_by_the_user(hub, tiny_generator, tmp_path):
    root, _ = hub
    model_hub.push(tiny_generator, "anna/rain", licence="mit")
    config = json.loads((root / "anna/rain/config.json").read_text())
    config["text"] = {"class": "clip", "source": "mallory/clip", "width": 16}
    (root / "anna/rain/config.json").write_text(json.dumps(config))
    for load in (lambda: model_hub.pull("anna/rain", tmp_path / "back"), lambda: resolve("hf:anna/rain")):
        with pytest.raises(InputError, match="takes its part 'text' from 'mallory/clip', which its author chose"):
            load()
    with pytest.raises(
        ModelError, match=r"anna/rain/text\.safetensors"
    ):  # past that, and the words' weights do not fit
        model_hub.pull("anna/rain", tmp_path / "back", sources=["mallory/clip"])


@pytest.mark.parametrize(
    ("part", "entry"),
    [("stable_diffusion", "mallory/other"), ("audio", {"kind": "beats", "source": "mallory/other"})],
)
def test_a_painters_sources_are_named_by_the_user(hub, tiny_painter, tmp_path, part, entry):
    root, _ = hub
    model_hub.push(tiny_painter, "anna/sea", licence="mit")
    embedder = {"input_width": 4, "token_width": 8}
    own = {"stable_diffusion": "stable-diffusion", "audio": {"kind": "musicnn", "source": ""}, "embedder": embedder}
    (root / "anna/sea/timbrel.json").write_text(json.dumps(own | {"info": {}, part: entry}))
    for load in (lambda: model_hub.pull("anna/sea", tmp_path / "back"), lambda: resolve("hf:anna/sea")):
        with pytest.raises(InputError, match=f"takes its part '{part}' from 'mallory/other'.* --sources mallory/other"):
            load()
    model_hub.pull("anna/sea", tmp_path / "back", sources=["mallory/other"])
    assert (tmp_path / "back/timbrel.json").is_file()


def test_wrong_values_are_said(tiny_model_folder, tmp_path):
    with pytest.raises(InputError, match="says no licence; give one"):
        model_hub.push(tiny_model_folder, "anna/tiny")
    for name in ("tiny", "a/b/c", "anna/..\n"):
        with pytest.raises(InputError, match="expected USER/NAME"):
            model_hub.pull(name, tmp_path / "back")
    (tmp_path / "back").mkdir()
    with pytest.raises(InputError, match="name a new folder"):
        model_hub.pull("anna/tiny", tmp_path / "back")
    with pytest.raises(ModelError, match="neither a model folder"):
        resolve("anna/tiny")


def test_a_model_that_ships_is_under_mit():
    card = model_hub.card(huggingface_hub, describe("default"), "anna/copy", None)
    assert huggingface_hub.ModelCard(card).data.license == "mit"
