"""main: the `labkit` command: finds the verb, and says in one place what went wrong.

The verbs' modules are imported when they are asked for, so `labkit --version`
answers in a blink and `labkit doctor` works where JupyterLab does not.
"""

import importlib
import sys

import click

from labkit.errors import LabkitError

VERBS = {
    "doctor": "labkit.cli.doctor",
    "lab": "labkit.cli.lab",
    "url": "labkit.cli.lab",
    "image": "labkit.cli.image",
    "volume": "labkit.cli.volume",
    "network": "labkit.cli.network",
    "host": "labkit.cli.host",
    "course": "labkit.cli.course",
    "reset": "labkit.cli.reset",
    "build": "labkit.cli.build",
    "export": "labkit.cli.image",
    "commit": "labkit.cli.image",
    "run": "labkit.cli.run",
    "ps": "labkit.cli.run",
    "exec": "labkit.cli.run",
    "logs": "labkit.cli.run",
    "stop": "labkit.cli.run",
    "rm": "labkit.cli.run",
}
"""Each verb and the module that holds a click command of that name."""


class Verbs(click.Group):
    """A click group that imports a verb's module only when the verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click gives it)
        """The verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one verb; None lets click say that there is no such command."""
        module = VERBS.get(cmd_name)
        if module is None:
            return None
        found = getattr(importlib.import_module(module), cmd_name, None)
        return found if isinstance(found, click.Command) else None


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"labkit {version('labkit')}")
        ctx.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and end.",
)
def labkit() -> None:
    """How Docker works inside: the lab, its course and its containers."""


def main(arguments: "list[str] | None" = None) -> None:
    """Run one command line and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: "list[str] | None" = None) -> int:
    """Run one command line; every error that was foreseen becomes one line and an exit code."""
    try:
        result = labkit.main(arguments, prog_name="labkit", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130  # 128 + SIGINT, as a shell has it
    except LabkitError as error:
        return _say(str(error), error.hint, error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, as in `labkit doctor | head -1`: say nothing at exit
        return 141  # 128 + SIGPIPE
    except OSError as error:
        return _say(_in_words(error), _remedy(error), 1)
    return result if isinstance(result, int) else 0


def _say(message: str, hint: str, exit_code: int) -> int:
    click.echo(f"labkit: {message}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)
    return exit_code


def _in_words(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
    return f"{error.strerror or error}{where}{notes}"


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "the kernel lets only root do this: try again with sudo"
    return "`labkit doctor` shows what this machine offers"
