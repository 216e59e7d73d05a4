"""A tree is walked by its rules, and its sum tells of all that a copy would show."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from labkit.build import context, ignore, sources
from labkit.errors import LabkitError, NotFound

EVERYTHING = ignore.Rules()


@pytest.fixture
def tree(tmp_path):
    for name in ("a/b/c.txt", "a/d.txt", "e.txt", "f/g.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("a")
    opened = sources.open_tree(tmp_path, "the context")
    yield opened
    opened.close()


def names(tree, pattern):
    return [source.name for source in sources.select(tree, pattern)]


def test_a_walk_comes_in_order_and_follows_no_link(tree):
    assert [entry.path for entry in tree.walk("")] == [
        "", "a", "a/b", "a/b/c.txt", "a/d.txt", "e.txt", "f", "f/g.md", "link",
    ]  # fmt: skip


def test_a_directory_comes_along_with_what_is_let_in_again(tree):
    tree.rules = ignore.parse("*\n!a/b/c.txt")

    assert [entry.path for entry in tree.walk("")] == ["", "a", "a/b", "a/b/c.txt"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("e.txt", ["e.txt"]),
        ("/e.txt", ["e.txt"]),
        ("./a/../e.txt", ["e.txt"]),
        (".", [""]),
        ("*.txt", ["e.txt"]),
        ("*/*.txt", ["a/d.txt", "link/d.txt"]),
        ("link/b", ["link/b"]),
        ("[af]", ["a", "f"]),
    ],
)
def test_a_pattern_names_its_sources(tree, pattern, found):
    assert names(tree, pattern) == found


@pytest.mark.parametrize("pattern", ["nothing", "*.none", "e.txt/below", "../e.txt", "a/../../e.txt"])
def test_what_is_not_there_is_told(tree, pattern):
    with pytest.raises(LabkitError) as caught:
        sources.select(tree, pattern)
    assert pattern in str(caught.value)


def test_what_is_left_out_cannot_be_named(tree):
    tree.rules = ignore.parse("a\n*.txt")

    for pattern in ("a", "a/d.txt", "e.txt", "link/d.txt", "*.txt"):
        with pytest.raises(NotFound, match=r"excluded by \.dockerignore"):
            sources.select(tree, pattern)


def total(directory):
    opened = sources.open_tree(directory, "x")
    try:
        return sources.content_sum(sources.select(opened, ".")[0], EVERYTHING)
    finally:
        opened.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some.dictionaries(
        some.text("abc", min_size=1, max_size=3),
        some.tuples(some.binary(max_size=20), some.sampled_from([0o644, 0o755])),
        max_size=5,
    ),
    some.data(),
)
def test_two_trees_have_the_same_sum_only_where_they_are_the_same(tmp_path_factory, files, data):
    def write(files, seconds):
        place = tmp_path_factory.mktemp("tree")
        for name, (content, mode) in files.items():
            (place / name).write_bytes(content)
            (place / name).chmod(mode)
            os.utime(place / name, (seconds, seconds))
        return place

    first = total(write(files, 1))
    assert total(write(dict(reversed(files.items())), 2)) == first
    if files:
        name = data.draw(some.sampled_from(sorted(files)))
        content, mode = files[name]
        assert total(write(files | {name: (content + b"x", mode)}, 1)) != first
        assert total(write(files | {name: (content, mode ^ 0o111)}, 1)) != first
        assert total(write({k: v for k, v in files.items() if k != name}, 1)) != first


def test_a_dockerfile_is_found_and_one_that_is_missing_is_told(tmp_path):
    with pytest.raises(NotFound, match=r"path .* not found"), context.of_directory(tmp_path / "none"):
        pass
    with pytest.raises(NotFound, match="unable to prepare context"), context.of_directory(tmp_path):
        pass
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / ".dockerignore").write_text("x\n")
    (tmp_path / "Dockerfile.dockerignore").write_text("y\n")
    with context.of_directory(tmp_path) as found:
        assert found.text == "FROM scratch\n"
        assert [rule.pattern for rule in found.tree.rules.rules] == ["y"]


def test_a_dockerfile_that_leads_out_of_the_context_is_not_followed(tmp_path):
    (tmp_path / "outside").write_text("FROM secret\n")
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").symlink_to(tmp_path / "outside")

    with pytest.raises(NotFound), context.of_directory(tmp_path / "context"):
        pass
