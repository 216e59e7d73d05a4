import json
import re

from labkit.runtime import logs


def test_a_log_is_docker_s_json_file(tmp_path):
    log = logs.Log(tmp_path / "log.json")
    log.write("stdout", b"one\ntw")
    log.write("stderr", b"err\n")
    log.write("stdout", b"o\nlast")
    log.close()
    rows = [json.loads(line) for line in (tmp_path / "log.json").read_text().splitlines()]

    assert [(row["stream"], row["log"]) for row in rows] == [
        ("stdout", "one\n"), ("stderr", "err\n"), ("stdout", "two\n"), ("stdout", "last"),
    ]  # fmt: skip
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", row["time"]) for row in rows)
    assert "".join(line.text for line in logs.read(tmp_path / "log.json")) == "one\nerr\ntwo\nlast"


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path):
    log = logs.Log(tmp_path / "log.json")
    for _ in range(10):
        log.write("stdout", b"x" * 10_000)
    log.close()

    lines = list(logs.read(tmp_path / "log.json"))
    assert "".join(line.text for line in lines) == "x" * 100_000
    assert max(len(line.text) for line in lines) == logs.MOST_LINE_BYTES


def test_a_line_that_is_being_written_is_left_for_later(tmp_path):
    file = tmp_path / "log.json"
    file.write_text('{"log": "a\\n", "stream": "stdout", "time": "t"}\n{"log": "b')

    assert [line.text for line in logs.read(file)] == ["a\n"]
    assert list(logs.read(tmp_path / "nothing")) == []
