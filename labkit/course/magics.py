"""magics: %%child, %%sh and %%trace, for cells that are run elsewhere or watched.

Every chapter. `course.start` puts them in place.
"""

import argparse
import html
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from labkit.course import children, luggage, pages
from labkit.course.chapters import Course
from labkit.errors import Invalid
from labkit.kernel import trace
from labkit.kernel.trace import Trace


class _Options(argparse.ArgumentParser):
    """Options of a magic; a wrong one is an error of the cell and not the end of the notebook."""

    def error(self, message: str) -> NoReturn:
        raise Invalid(f"%%{self.prog}: {message}", hint=self.format_usage().strip())


def _child_options(name: str) -> _Options:
    options = _Options(prog=name, add_help=False)
    options.add_argument("--new", default="", metavar="uts,pid", help="fresh namespaces of these kinds")
    options.add_argument("--root", default=None, metavar="DIR", help="the directory that becomes /")
    options.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    return options


def _shell() -> Any:
    shell = pages.shell()
    if shell is None:
        raise Invalid("a cell magic needs a notebook")
    return shell


def child(line: str, cell: str) -> None:
    """Run the cell in a fresh child: `%%child --new uts,pid`. Plain values of the notebook come along."""
    chosen = _child_options("child").parse_args(shlex.split(line))
    code = luggage.pack_names(cell, _shell().user_ns)
    children.child(
        f"{code}\n{cell}" if code else cell,
        namespaces=chosen.new, root=chosen.root, timeout_seconds=chosen.timeout,
    )  # fmt: skip


def sh(line: str, cell: str) -> None:
    """Run the cell as a shell script in a fresh child; `$name` is the notebook's plain variable."""
    chosen = _child_options("sh").parse_args(shlex.split(line))
    children.child.sh(
        _assignments(cell, _shell().user_ns) + cell,
        namespaces=chosen.new, root=chosen.root, timeout_seconds=chosen.timeout,
    )  # fmt: skip


def _assignments(script: str, known: Mapping[str, Any]) -> str:
    """Shell assignments for the notebook's texts, numbers and paths that the script mentions."""
    names = dict.fromkeys(re.findall(r"\$\{?([A-Za-z_]\w*)", script))
    plain = {name: known[name] for name in names if isinstance(known.get(name), (str, int, Path))}
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in plain.items())


def traced(line: str, cell: str) -> None:
    """List the kernel operations of the cell and the chapter that explains each; `--timeline` draws them."""
    options = _Options(prog="trace", add_help=False)
    options.add_argument("--timeline", action="store_true")
    chosen = options.parse_args(shlex.split(line))
    with trace.record() as recorded:
        done = _shell().run_cell(cell)
    done.raise_error()  # else a run of the notebook would not stop at it
    if chosen.timeline:
        from IPython.display import display

        from labkit.widgets import SyscallTimeline

        display(SyscallTimeline(recorded))  # type: ignore[no-untyped-call]
    else:
        pages.show(plain_trace(recorded), rich_trace(recorded))


def plain_trace(recorded: Trace) -> str:
    """Order, process, call and chapter: what is the same in every run."""
    if not len(recorded):
        return "no kernel operation"
    rows = [
        f"{op.process:<8} {op.call:<14}" + (f" chapter {op.chapter}" if op.chapter else "") for op in recorded
    ]
    return "\n".join(row.rstrip() for row in rows)


def rich_trace(recorded: Trace) -> str:
    """The same with times, arguments and links to the chapters."""
    if not len(recorded):
        return "<i>no kernel operation</i>"
    start = recorded.operations[0].at_seconds
    rows = []
    for op in recorded:
        said = html.escape(op.said) + (
            f' <span style="color:{pages.RED}">{html.escape(op.error)}</span>' if op.error else ""
        )
        cells = (
            f"{(op.at_seconds - start) * 1e3:.2f} ms",
            f"{op.took_seconds * 1e6:.0f} µs",
            op.process,
            f"<code>{op.call}</code>",
            said,
            _link(op.chapter),
        )
        rows.append("<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>")
    heads = "".join(
        f'<th style="text-align:left">{h}</th>' for h in ("at", "took", "process", "call", "what", "chapter")
    )
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


def _link(number: str) -> str:
    """A chapter's number as a link to its notebook, which lies beside this one."""
    for chapter in Course.from_environment().chapters():
        if chapter.number == number:
            return f'<a href="{chapter.name}.ipynb">{number}</a>'
    return number


def register() -> None:
    """Put the magics into the shell, if there is one."""
    shell = pages.shell()
    if shell is None:
        return
    for name, magic in (("child", child), ("sh", sh), ("trace", traced)):
        shell.register_magic_function(magic, "cell", name)
