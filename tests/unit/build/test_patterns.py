"""Patterns name paths as Go's filepath.Match does, and ignore files as Docker reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from labkit.build import ignore, patterns
from labkit.errors import Invalid


@pytest.mark.parametrize(
    ("pattern", "path", "names"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        (r"a\*b", "a*b", True),
        (r"a\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("[a-ö]*", "é", True),
        ("*[a-ö]", "A", False),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        (r"[\]a]", "]", True),
        (r"[\-]", "-", True),
        (r"[x\-]", "x", True),
        (r"[\-x]", "a", False),
        ("[z-a]", "m", False),
        ("*x", "xxx", True),
        ("a.b", "axb", False),
    ],
)
def test_match_as_go_does(pattern, path, names):
    assert patterns.match(pattern, path) is names


@pytest.mark.parametrize(
    "pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\"]
)
def test_a_bad_pattern_is_named(pattern):
    with pytest.raises(Invalid, match="syntax error in pattern"):
        patterns.match(pattern, "a")


@given(some.text(alphabet="ab*?[]^-\\/."), some.text(alphabet="ab/.-"))
def test_any_pattern_matches_or_is_refused(pattern, path):
    for stars in (False, True):
        try:
            patterns.compiled(pattern, stars=stars).fullmatch(path)
        except Invalid as error:
            assert pattern in str(error)


@pytest.mark.parametrize(
    ("rules", "left_out", "kept"),
    [
        ("file", ["file", "file/below"], ["dir/file", "files"]),
        ("/file", ["file"], ["dir/file"]),
        ("dir/", ["dir", "dir/a/b"], ["a/dir"]),
        ("*/temp*", ["a/temp", "a/temperature"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["a/b/temp"], ["a/temp"]),
        ("temp?", ["tempa"], ["temp", "tempab"]),
        ("**/*.go", ["a.go", "a/b/c.go"], ["a.golf"]),
        ("**", ["a", "a/b"], []),
        ("dir/**", ["dir/a", "dir/a/b"], ["dir", "a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("*.md\n!README.md", ["a.md"], ["README.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", ["a.md"], ["README.md", "README-secret.md"]),
        ("dir\n!dir/keep", ["dir/a", "dir"], ["dir/keep", "dir/keep/below"]),
        ("!a", [], ["a"]),
        ("# a\n\n  b  \n #c", ["b", "#c"], ["a", "c"]),
        ("./a/../b", ["b"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("! a\n", [], ["a"]),
        (".", [], ["a"]),
        ("*", ["a", ".b", "a/b"], []),
    ],
)
def test_the_last_rule_that_names_a_path_decides(rules, left_out, kept):
    found = ignore.parse(rules)

    assert [path for path in left_out if not found.leave_out(path)] == []
    assert [path for path in kept if found.leave_out(path)] == []


@pytest.mark.parametrize(("text", "line"), [("a\n!", 2), ("\n\n[", 3)])
def test_a_rule_that_cannot_be_names_its_line(text, line):
    with pytest.raises(Invalid, match=rf"^\.dockerignore:{line}: "):
        ignore.parse(text)
