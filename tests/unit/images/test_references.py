import pytest

from labkit.errors import Invalid
from labkit.images import references

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("lab/busybox", "docker.io/lab/busybox", "lab/busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/lab/x:y", "docker.io/lab/x:y", "lab/x:y"),
        ("localhost/x", "localhost/x", "localhost/x"),
        ("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y"),
        ("Host/x", "Host/x", "Host/x"),
        ("example.org/a/b/c", "example.org/a/b/c", "example.org/a/b/c"),
        ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
        ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f", "a__b/c--d.e_f"),
        (f"x@sha256:{HEX}", f"docker.io/library/x@sha256:{HEX}", f"x@sha256:{HEX}"),
        (f"x:y@sha256:{HEX}", f"docker.io/library/x:y@sha256:{HEX}", f"x:y@sha256:{HEX}"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
    ],
)
def test_a_name_is_completed_as_docker_does_and_shortened_again(text, full, familiar):
    found = references.parse(text)

    assert (str(found), found.familiar) == (full, familiar)
    assert references.parse(familiar) == references.parse(full) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "/etc", "../x", "a//b", "a/", ":tag", "x:", "x:.y", "x y", "x\n", "-x", "x-", "a..b",
        "a___b", "UPPER", "lab/Busybox", "x@sha256:abc", f"x@md5:{HEX[:32]}", f"x@sha256:{HEX.upper()}",
        "x:" + "t" * 129,
        "host:port/x", "http://example.org/x", "x@", "é", "x:é", "a" * 250,
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused(text):
    with pytest.raises(Invalid):
        references.parse(text)


def test_an_id_is_not_taken_for_a_name():
    with pytest.raises(Invalid, match="cannot specify 64-byte hexadecimal strings"):
        references.parse(HEX)


def test_capitals_are_told_apart_from_other_mistakes():
    with pytest.raises(Invalid, match=r"repository name \(library/UPPER\) must be lowercase"):
        references.parse("UPPER")


def test_latest_goes_without_saying_unless_there_is_a_tag_or_a_digest():
    assert references.parse("x").tagged().familiar == "x:latest"
    assert references.parse("x:y").tagged().familiar == "x:y"
    assert references.parse(f"x@sha256:{HEX}").tagged().tag == ""
