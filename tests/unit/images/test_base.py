from labkit.images import base


def test_a_debian_machine_s_own_release_is_taken_and_stable_elsewhere(tmp_path):
    release = tmp_path / "os-release"
    release.write_text('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    assert base._suite(release) == "bookworm"
    release.write_text("ID=ubuntu\nVERSION_CODENAME=noble\n\n# a comment\n")
    assert base._suite(release) == "stable"


def test_a_static_program_asks_for_no_interpreter(tmp_path):
    assert base._wants_interpreter(base.Path("/bin/sh"))
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert not base._wants_interpreter(tmp_path / "script")
