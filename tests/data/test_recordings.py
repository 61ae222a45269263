"""A folder of recordings, and the work on each."""

from pathlib import Path

import pytest

from timbrel.data.recordings import Pool, Recording, find_recordings
from timbrel.errors import AudioError, InputError


def size(recording: Recording) -> int:
    if recording.bytes == 2:
        raise AudioError("it is short")
    if recording.bytes == 3:
        raise ZeroDivisionError("odd")
    return recording.bytes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, count in (("harp/a.wav", 1), ("harp/more/b.MP3", 2), ("lute/c.flac", 3), ("lute/d.ogg", 4), ("e.wav", 1)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * count)
    (tmp_path / "harp" / "notes.txt").touch()
    (tmp_path / "harp" / ".hidden.wav").touch()
    return tmp_path


def test_recordings_lie_in_an_instruments_folder(root: Path):
    sources, failures = find_recordings(root)
    assert sources == ["harp/a.wav", "harp/more/b.MP3", "lute/c.flac", "lute/d.ogg"]
    assert [source for source, _ in failures] == ["e.wav"]
    assert [Recording(root, source, root).label for source in sources] == ["harp", "harp", "lute", "lute"]
    with pytest.raises(InputError, match=r"no usable recording.*\n.*violin/one\.mp3"):
        find_recordings(root / "harp" / "more")


def test_where_one_fails_the_others_go_on_the_largest_first(root: Path):
    pool = Pool(workers=1, progress=False)
    done = [
        (job.source, size)
        for job, size in pool.work(size, [Recording(root, s, root) for s in find_recordings(root)[0]])
    ]
    assert done == [("lute/d.ogg", 4), ("harp/a.wav", 1)]
    assert pool.failures == [("harp/more/b.MP3", "it is short"), ("lute/c.flac", "ZeroDivisionError: odd")]
    with pytest.raises(InputError, match="workers is 0; expected at least 1"):
        Pool(workers=0, progress=False)


class Kept(Recording):
    records = "kept"


def test_what_is_finished_is_not_done_again_until_its_file_changes(root: Path, tmp_path: Path):
    asked: list[str] = []

    def work(job: Recording) -> int:
        asked.append(job.source)
        return job.bytes

    def finish() -> dict[str, int]:
        jobs = [Kept(root, source, tmp_path / "out") for source in ("harp/a.wav", "lute/c.flac")]
        return {job.source: answer for job, answer in Pool(workers=1, progress=False).finish(work, jobs)}

    sizes = finish()
    assert finish() == sizes
    assert sorted(asked) == ["harp/a.wav", "lute/c.flac"]
    (root / "harp" / "a.wav").write_bytes(b"more than before")
    assert finish() == sizes | {"harp/a.wav": 16}
    assert len(asked) == 3
