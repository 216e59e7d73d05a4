"""A Dockerfile is read as Docker reads it, and what cannot be read is told with its line."""

import textwrap

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from labkit.build import dockerfile, syntax
from labkit.build.dockerfile import DockerfileError, parse


def only(text):
    (instruction,) = parse(textwrap.dedent(text)).instructions
    return instruction


def test_an_instruction_knows_its_first_and_last_line():
    found = parse("# a comment\n\nFROM scratch\nRUN a \\\n  b \\\n\n  # inside\n  c\nCMD d\n").instructions

    assert [(i.keyword, i.line, i.end_line) for i in found] == [("FROM", 3, 3), ("RUN", 4, 8), ("CMD", 9, 9)]
    assert found[1].words == ("a   b   c",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RUN echo a \\\\\nCMD b", ["echo a \\\\", "b"]),  # an escaped escape does not continue
        ("RUN echo a \\  \t\n b", ["echo a  b"]),  # spaces after it do not matter
        ("run echo a\r\ncmd b\r\n", ["echo a", "b"]),
        ("\ufeffRUN a", ["a"]),
        ("RUN a \\", ["a"]),  # nothing follows
        ("  RUN   a  b  ", ["a  b"]),
    ],
)
def test_lines_are_put_together(text, words):
    assert [i.words[0] for i in parse(text).instructions] == words


def test_the_escape_directive_makes_a_backslash_a_letter():
    found = parse("# escape=`\nRUN dir C:\\ `\n  more\nCOPY a c:\\\n")

    assert found.escape == "`"
    assert [i.words for i in found.instructions] == [("dir C:\\   more",), ("a", "c:\\")]


@pytest.mark.parametrize(
    "text",
    [
        "# comment\n# escape=`\nRUN a \\\n b",
        "\n# escape=`\nRUN a \\\n b",
        "# other=1\n# escape=`\nRUN a \\\n b",
    ],
)
def test_a_directive_counts_at_the_very_top_alone(text):
    assert parse(text).escape == "\\"


def test_json_is_the_exec_form_and_what_is_not_quite_json_is_the_shell_form():
    assert only('CMD ["a", "b c"]').words == ("a", "b c")
    assert only('CMD ["a", "b c"]').is_exec
    assert not only("CMD ['a', 'b']").is_exec
    assert only("CMD ['a', 'b']").words == ("['a', 'b']",)
    assert only("CMD []").is_exec
    assert only('COPY ["a b", "c"]').words == ("a b", "c")
    assert only(r'CMD ["\ud800"]').words == ("\ufffd",)


def test_pairs_keep_their_quotes_for_the_expansion():
    assert only('ENV a=1 b="x y" c=z\\ w').pairs == (("a", "1"), ("b", '"x y"'), ("c", "z\\ w"))
    assert only("ENV a  b c=d").pairs == (("a", "b c=d"),)
    assert only("ARG a b=1 c=").pairs == (("a", None), ("b", "1"), ("c", ""))


def test_flags_stand_before_the_arguments():
    found = only('COPY --from=build --chown="me:you" --link a b')

    assert found.flags == (("from", "build"), ("chown", "me:you"), ("link", None))
    assert found.words == ("a", "b")
    assert found.is_set("link")
    assert found.flag("from") == "build"
    assert only("RUN --mount=type=cache,target=/a --mount=type=tmpfs,target=/b x").all_flags("mount") == (
        "type=cache,target=/a",
        "type=tmpfs,target=/b",
    )


def test_here_documents_follow_their_line():
    found = parse("RUN <<A cat <<-'B'\n$x\nA\n\ttwo\n\tB\nCMD x").instructions

    assert [(h.name, h.text, h.expands) for h in found[0].heredocs] == [
        ("A", "$x\n", True), ("B", "two\n", False),
    ]  # fmt: skip
    assert (found[0].end_line, found[1].line) == (5, 6)


def test_a_shift_is_no_here_document():
    assert only("RUN echo $((1<<3))").heredocs == ()
    assert only('CMD ["<<EOF"]').heredocs == ()


def test_a_trigger_is_read_when_it_is_written():
    found = only("ONBUILD COPY --chown=1 a b")

    assert found.trigger is not None
    assert (found.trigger.keyword, found.trigger.words) == ("COPY", ("a", "b"))
    assert found.words == ("COPY --chown=1 a b",)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "file with no instructions"),
        ("# only this", 1, "file with no instructions"),
        ("FROM a\n\nFOO b", 3, "unknown instruction: FOO"),
        ("FROM a b", 1, "FROM requires either one or three arguments"),
        ("FROM a AS 1b", 1, "invalid name for build stage"),
        ("FROM a\nCOPY a", 2, "Destination could not be determined"),
        ("FROM a\nRUN <<EOF\nx", 2, "unterminated heredoc: no line says EOF"),
        ("FROM a\nENV x", 2, "ENV must have two arguments"),
        ("FROM a\nENV a=b c", 2, "can't find = in 'c'"),
        ("FROM a\nLABEL =b", 2, "LABEL names can not be blank"),
        ("FROM a\nARG =b", 2, "ARG names can not be blank"),
        ('FROM a\nCMD ["a", 1]', 2, "arrays must be comprised of strings only"),
        ("FROM a\nSHELL bash", 2, "SHELL requires the arguments to be in JSON form"),
        ("FROM a\nCOPY --fro=b c d", 2, "unknown flag: --fro"),
        ("FROM a\nCOPY --from c d", 2, "missing a value on flag: from"),
        ("FROM a\nCOPY --from=b --from=c c d", 2, "duplicate flag"),
        ("FROM a\nONBUILD ONBUILD RUN x", 2, "Chaining ONBUILD"),
        ("FROM a\nONBUILD FROM x", 2, "FROM isn't allowed"),
        ("FROM a\nHEALTHCHECK FOO", 2, "Unknown type 'FOO' in HEALTHCHECK"),
        ("FROM a\nHEALTHCHECK CMD", 2, "Missing command after HEALTHCHECK CMD"),
        ("FROM a\nRUN", 2, "RUN requires at least one argument"),
        ("FROM a\nUSER", 2, "USER requires exactly one argument"),
        ("# escape=x\nFROM a", 1, "invalid escape token"),
        ("# escape=`\n# escape=`\nFROM a", 2, "only one escape parser directive"),
    ],
)
def test_an_error_names_the_file_and_the_line(text, line, message):
    with pytest.raises(DockerfileError, match=f"^other/file:{line}: ") as caught:
        parse(text, "other/file")

    assert message in str(caught.value)
    assert (caught.value.file, caught.value.line) == ("other/file", line)


def test_a_slip_of_the_pen_gets_a_hint():
    with pytest.raises(DockerfileError) as caught:
        parse("FRMO a")

    assert caught.value.hint == "did you mean FROM?"


def test_what_is_no_text_names_the_line():
    with pytest.raises(DockerfileError, match=r"^Dockerfile:2: the text is not UTF-8"):
        dockerfile.decode(b"FROM a\nRUN \xff")


PIECES = some.one_of(
    some.sampled_from([*syntax.FORMS, "<<EOF", "EOF", "\\", "`", "\n", " ", '["a"]', "[", "--from=x",
                       "$x", "${x:-", "}", "'", '"', "#", "# escape=`", "=", "a=b", "ONBUILD ", "\r\n",
                       "\t", "\0"]),
    some.text(max_size=8),
)  # fmt: skip


@given(some.one_of(some.text(), some.lists(PIECES).map("".join)))
@example("CMD " + "[" * 100_000)
@example("ONBUILD " * 5_000 + "RUN x")
@example("CMD [1" + "0" * 10_000 + "]")
def test_any_text_is_read_or_refused_with_its_line(text):
    try:
        found = parse(text, "any")
    except DockerfileError as error:
        assert str(error).startswith(f"any:{error.line}: ")
        assert 1 <= error.line <= text.count("\n") + 2
    else:
        lines = [i.line for i in found.instructions]
        assert lines == sorted(lines)
