"""Packages are downloaded and unpacked; no script of theirs runs."""

import os
import shutil
import subprocess

import pytest

from labkit.errors import Unsupported
from labkit.images import packages

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb: this is no Debian")

APT = """\
#!/bin/sh
echo "$*" >> {place}/asked
case "$*" in *" update") touch {place}/updated; exit 0 ;; esac
[ -e {place}/updated ] || {{ echo 'Reading lists'; echo 'E: Unable to locate package one' >&2; exit 100; }}
for word in "$@"; do case $word in Dir::Cache::archives=*) cp {place}/*.deb "${{word#*=}}" ;; esac; done
"""


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """An apt-get that has one package, after an update of its lists."""
    tree = tmp_path / "tree"
    for name in ("DEBIAN", "bin", "usr/lib", "usr/share/man", "usr/share/doc/one"):
        (tree / name).mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: one\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: one\n"
    )
    (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    (tree / "bin/one").write_text("#!/bin/sh\n")
    (tree / "bin/one").chmod(0o755)
    (tree / "usr/share/man/one.1").write_text("one")
    (tree / "usr/share/doc/one/copyright").write_text("free")
    subprocess.run(["dpkg-deb", "--build", tree, tmp_path / "one.deb"], check=True, capture_output=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apt-get").write_text(APT.format(place=tmp_path))
    (tmp_path / "bin/apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def test_a_package_s_files_are_there_after_the_lists_were_updated(mirror):
    said = []
    (mirror / "root").mkdir()
    packages.unpack(["one"], mirror / "root", said.append)

    program = mirror / "root/usr/bin/one"  # the package says bin/, which is a link
    assert program.stat().st_mode & 0o777 == 0o755
    assert (mirror / "root/bin").readlink() == mirror.__class__("usr/bin")
    assert said == ["download one, and what they depend on", "unpack 1/1 one.deb"]
    assert not (mirror / "ran").exists()


def test_what_nobody_reads_in_a_container_is_left_out(mirror):
    (mirror / "root").mkdir()
    packages.unpack(["one"], mirror / "root", lambda _: None)

    assert not (mirror / "root/usr/share/man/one.1").exists()
    assert not (mirror / "root/usr/share/doc/one").exists()


def test_nothing_of_the_machine_s_own_packages_is_taken_for_granted(mirror):
    (mirror / "root").mkdir()
    packages.unpack(["one"], mirror / "root", lambda _: None)

    asked = (mirror / "asked").read_text().splitlines()[-1]
    assert "Dir::State::status=" in asked
    assert "--download-only install one" in asked


def test_a_mirror_that_has_nothing_is_told_in_apt_s_words(mirror):
    (mirror / "root").mkdir()
    (mirror / "bin/apt-get").write_text("#!/bin/sh\necho 'E: Unable to locate package one' >&2\nexit 100\n")

    with pytest.raises(Unsupported, match="downloaded: E: Unable to locate package one"):
        packages.unpack(["one"], mirror / "root", lambda _: None)


def test_a_package_that_is_cut_off_is_named(mirror):
    (mirror / "updated").touch()
    (mirror / "root").mkdir()
    whole = (mirror / "one.deb").read_bytes()
    (mirror / "one.deb").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(Unsupported, match=r"one\.deb cannot be unpacked"):
        packages.unpack(["one"], mirror / "root", lambda _: None)
