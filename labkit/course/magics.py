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
from labkit.kernel.trace import Operation, Trace

COLUMNS = ("at", "took", "process", "call", "chapter", "what")
NUMBER, NAME, WORDS = (
    f"text-align: {side}; padding: 2px 8px; {wrap}"
    for side, wrap in (
        ("right", "white-space: nowrap"),
        ("left", "white-space: nowrap"),
        ("left", "overflow-wrap: anywhere; min-width: 18em"),
    )
)
STYLES = (NUMBER, NUMBER, NAME, NAME, NAME, WORDS)
FRAME = (
    "overflow: auto; max-height: 36em; resize: vertical; "
    "border: 1px solid var(--jp-border-color2, #8886); border-radius: 4px"
)
DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


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
    """The same with times, arguments and links to the chapters; ids as docker ps shows them."""
    if not len(recorded):
        return "<i>no kernel operation</i>"
    start = recorded.operations[0].at_seconds
    heads = "".join(f'<th style="{style}">{name}</th>' for name, style in zip(COLUMNS, STYLES, strict=True))
    rows = "".join(_row(operation, start) for operation in recorded)
    return f'<div style="{FRAME}"><table style="margin: 0"><tr>{heads}</tr>{rows}</table></div>'


def _row(operation: Operation, start: float) -> str:
    said = html.escape(DIGEST.sub(r"\1…", operation.said))
    if operation.error:
        said += f' <span style="color: {pages.RED}">{html.escape(operation.error)}</span>'
    cells = (
        f"{(operation.at_seconds - start) * 1e3:.2f} ms",
        f"{operation.took_seconds * 1e6:.0f} µs",
        operation.process,
        f"<code>{operation.call}</code>",
        _link(operation.chapter),
        said,
    )
    filled = zip(cells, STYLES, strict=True)
    return "<tr>" + "".join(f'<td style="{style}">{cell}</td>' for cell, style in filled) + "</tr>"


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
