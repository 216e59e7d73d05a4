import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from labkit import records


@dataclass(frozen=True)
class Note:
    text: str
    place: Path


def test_a_record_comes_back_as_it_was_saved_and_only_its_owner_reads_it(tmp_path):
    records.save(tmp_path / "note.json", Note("x", Path("/a")))

    assert records.load(tmp_path / "note.json") == {"text": "x", "place": "/a"}
    assert (tmp_path / "note.json").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["note.json"]


def test_a_save_that_fails_leaves_the_old_record_and_no_draft(tmp_path, monkeypatch):
    records.save(tmp_path / "note.json", {"old": 1})

    def full(_descriptor: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        records.save(tmp_path / "note.json", {"new": 2})

    assert records.load(tmp_path / "note.json") == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["note.json"]


def test_what_json_cannot_hold_is_refused_before_a_file_is_made(tmp_path):
    with pytest.raises(TypeError):
        records.save(tmp_path / "note.json", {"x": object()})

    assert list(tmp_path.iterdir()) == []
