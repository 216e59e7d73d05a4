"""The command line says in one line what went wrong, and starts quickly."""

import subprocess
import sys
from importlib.metadata import version

import click
import pytest

from labkit.cli import main
from labkit.errors import LabkitError, NotFound, StartFailed


@pytest.fixture
def failing(monkeypatch):
    """A command line whose verb raises what the test gives."""

    def with_error(error: BaseException) -> None:
        @click.command()
        def broken() -> None:
            raise error

        monkeypatch.setattr(main.Verbs, "get_command", lambda *_: broken)

    return with_error


def test_the_version_is_the_packages():
    done = subprocess.run(_labkit("--version"), capture_output=True, text=True, check=True)
    assert done.stdout == f"labkit {version('labkit')}\n"


def test_heavy_libraries_stay_out_of_the_way():
    code = "import sys, labkit.cli.main; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert {"rich", "matplotlib", "pyroute2", "IPython", "asyncio"} & set(loaded) == set()


def test_a_foreseen_error_is_one_line_with_its_hint_and_exit_code(failing, capsys):
    failing(StartFailed("no such command: frob", exit_code=127, hint="is it on the PATH?"))

    assert main.run(["broken"]) == 127
    assert capsys.readouterr().err == "labkit: no such command: frob\n  is it on the PATH?\n"


def test_an_error_without_a_hint_has_no_second_line(failing, capsys):
    failing(LabkitError("broken"))

    assert main.run(["broken"]) == 1
    assert capsys.readouterr().err == "labkit: broken\n"


def test_a_refusal_of_the_kernel_names_the_file_and_the_remedy(failing, capsys):
    failing(PermissionError(13, "mount: Permission denied", "/merged"))

    assert main.run(["broken"]) == 1
    assert "mount: Permission denied (/merged)" in (said := capsys.readouterr().err)
    assert "sudo" in said


def test_an_unforeseen_error_is_not_hidden(failing):
    failing(ZeroDivisionError("a defect"))

    with pytest.raises(ZeroDivisionError):
        main.run(["broken"])


def test_ctrl_c_ends_with_130(failing):
    failing(KeyboardInterrupt())

    assert main.run(["broken"]) == 130


def test_a_reader_that_went_away_is_no_error(failing, monkeypatch):
    monkeypatch.setattr(sys, "stderr", open("/dev/null", "w"))  # noqa: SIM115 (main closes it)
    failing(BrokenPipeError())

    assert main.run(["broken"]) == 141


def test_an_unknown_verb_is_a_usage_error(capsys):
    assert main.run(["frobnicate"]) == 2
    assert "No such command 'frobnicate'" in capsys.readouterr().err


def test_every_verb_of_the_table_that_is_there_is_a_command():
    group = main.labkit
    context = click.Context(group)

    for verb in group.list_commands(context):
        command = group.get_command(context, verb)
        assert isinstance(command, click.Command), verb
        assert command.help, verb


def test_the_hint_of_a_missing_thing_comes_through(failing, capsys):
    failing(NotFound("no lab is running", hint="make lab"))

    assert main.run(["broken"]) == 1
    assert capsys.readouterr().err.endswith("  make lab\n")


def _labkit(*arguments: str) -> list[str]:
    return [f"{sys.prefix}/bin/labkit", *arguments]
