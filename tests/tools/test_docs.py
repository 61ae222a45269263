import pytest

from tools import docs

PAGE = "before\n<!-- one -->\nold\ntable\n<!-- /one -->\nafter\n"


def test_only_what_stands_between_the_marks_changes():
    assert docs.filled(PAGE, "one", r"new \1") == "before\n<!-- one -->\nnew \\1\n<!-- /one -->\nafter\n"
    for text in ("no marks", PAGE + PAGE):
        with pytest.raises(ValueError, match="expected once"):
            docs.filled(text, "one", "new")


def test_pages_are_written_unless_only_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "blocks", lambda: {("page.md", "one"): lambda: "new"})
    (tmp_path / "page.md").write_text(PAGE)
    assert docs.main(["--check"]) == 1
    assert (tmp_path / "page.md").read_text() == PAGE
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    assert "new" in (tmp_path / "page.md").read_text()
    assert capsys.readouterr().out == "page.md\npage.md\n"
