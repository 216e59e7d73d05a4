"""inside: the first lines of a fresh child, before and after those it was given.

Every chapter. unshare(2), user_namespaces(7), pid_namespaces(7), pivot_root(2).
Started as a file by labkit.course.children, with a socket as its only argument:

      notebook                                  child
         │  ── order: code, namespaces, root ──►  │ unshare
         │  ◄──────────────────────── unshared ── │ (with a user namespace)
  id map │  ── mapped ─────────────────────────►  │ fork (with a pid or time namespace)
         │  ◄───────────────────── born, ready ── │ run the code
         │  ◄───────────────── value or error ──  │ (held) wait for the socket to close

Imports are few, since this is what a cell waits for.
"""

import json
import os
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

OFFERED = {
    name: (name, "") for name in ("os", "sys", "signal", "socket", "subprocess", "time", "json", "errno")
}
OFFERED |= {"Path": ("pathlib", "Path")}
OFFERED |= {
    name: (f"labkit.kernel.{name}", "")
    for name in ("capabilities", "cgroups", "devices", "idmap", "libc", "mounts", "namespaces", "process")
}
OFFERED |= {
    "Namespace": ("labkit.kernel.namespaces", "Namespace"),
    "MountFlag": ("labkit.kernel.mounts", "MountFlag"),
    "IdMap": ("labkit.kernel.idmap", "IdMap"),
    "Limits": ("labkit.kernel.limits", "Limits"),
}
"""Names that code in a child need not import; imported only where it mentions them."""

CHILD_FILE = "<child>"


class Notebook:
    """The other end: who started this child and waits for its words."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._lines = os.fdopen(descriptor, "r+b", buffering=0)

    def hear(self) -> dict[str, Any]:
        """The next message; the child ends with a notebook that has ended."""
        line = bytearray()
        while not line.endswith(b"\n"):
            piece = self._lines.read(1 << 16)
            if not piece:
                os._exit(0)
            line += piece
        return json.loads(line)  # type: ignore[no-any-return]

    def say(self, event: str, **fields: Any) -> None:
        """Tell the notebook; one that no longer listens is no error."""
        message = memoryview(json.dumps({"event": event, **fields}, default=_plain).encode() + b"\n")
        try:
            while message:
                message = message[self._lines.write(message) :]
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)


def _plain(value: Any) -> Any:
    """What JSON has no form for, in a form it has."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"a {type(value).__name__} cannot travel back from a child: return numbers, text, lists or dicts"
    )


def main() -> None:
    """Take the order, prepare, run, report."""
    notebook = Notebook(int(sys.argv[1]))
    order = notebook.hear()
    sys.argv = ["child"]
    sys.path[:0] = order["path"]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        code = None if order["shell"] else compile(order["code"], CHILD_FILE, "exec")
        names = _names(code)
        given = _arguments(order)  # before a new root takes the modules away that they are made of
        _enter(order, notebook)
    except BaseException as error:
        _report(error, notebook, order)
        os._exit(1)
    teller = os.getpid()
    notebook.say("ready")
    try:
        if code is None:
            os.execv("/bin/sh", ["sh", "-euc", order["code"]])
        _run(code, names, given, order["function"], notebook)
        _flush()
        if order["hold"] and os.getpid() == teller:
            notebook.hear()  # until the notebook lets go
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException as error:
        if os.getpid() == teller:
            _report(error, notebook, order)
        status = 1
    _flush()
    os._exit(status & 0xFF)


def _run(code: CodeType, names: dict[str, Any], given: Any, function: str, notebook: Notebook) -> None:
    teller = os.getpid()
    arguments, keywords = given
    if not function:
        names |= {"args": arguments, **keywords}
    exec(code, names)
    if function:
        value = names[function](*arguments, **keywords)
        if os.getpid() == teller:  # a copy that fork(2) made and nobody ended has nothing to tell
            notebook.say("value", value=value)


def _arguments(order: dict[str, Any]) -> Any:
    if not order["arguments"]:
        return (), {}
    import base64
    import pickle

    return pickle.loads(base64.b64decode(order["arguments"]))


def _names(code: CodeType | None) -> dict[str, Any]:
    """The globals of the code: the offered names that it mentions."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for name in set(_mentioned(code)) & OFFERED.keys() if code else ():
        module, attribute = OFFERED[name]
        __import__(module)
        names[name] = getattr(sys.modules[module], attribute) if attribute else sys.modules[module]
    return names


def _mentioned(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _mentioned(constant)


def _enter(order: dict[str, Any], notebook: Notebook) -> None:
    """Leave what was asked to be left: namespaces first, then the root."""
    from labkit.kernel import process

    process.die_with_parent()
    if order["namespaces"]:
        _unshare(order["namespaces"], notebook)
    if order["root"]:
        _enter_root(order["root"], order["namespaces"])


def _unshare(bits: int, notebook: Notebook) -> None:
    from labkit.kernel import mounts, namespaces, process

    kinds = namespaces.Namespace(bits)
    namespaces.unshare(kinds)
    if kinds & namespaces.Namespace.USER:
        notebook.say("unshared")  # a map with more than one line is written from outside
        notebook.hear()
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        process.die_with_parent()  # a change of ids has cleared it
    if kinds & (namespaces.Namespace.PID | namespaces.Namespace.TIME):
        _be_born(notebook)
    if kinds & namespaces.Namespace.MOUNT:
        mounts.propagate("/", mounts.MountFlag.PRIVATE)


def _be_born(notebook: Notebook) -> None:
    """Fork: only a child lives in a new pid or time namespace. The parent ends as the child ends."""
    from labkit.kernel import process

    born = os.fork()
    if born == 0:
        process.die_with_parent()
        return
    notebook.say("born", pid=born)
    _, status = os.waitpid(born, 0)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _enter_root(root: str, bits: int) -> None:
    from labkit.kernel import mounts
    from labkit.kernel.namespaces import Namespace

    mounts.bind(root, root, recursive=True)
    mounts.enter_root(root)
    if bits & Namespace.PID and os.path.isdir("/proc"):  # noqa: PTH112 (pathlib is not loaded here)
        mounts.mount("proc", "/proc", "proc")


def _report(error: BaseException, notebook: Notebook, order: dict[str, Any]) -> None:
    """What went wrong, and the line of the given code that it leads to.

    By hand and not by the traceback module: after a chroot no module can be imported.
    """
    number = error.lineno if isinstance(error, SyntaxError) else None
    step = error.__traceback__
    while step is not None and not isinstance(error, SyntaxError):
        if step.tb_frame.f_code.co_filename == CHILD_FILE:
            number = step.tb_lineno
        step = step.tb_next
    lines = order["code"].splitlines()
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    name = type(error).__qualname__
    if (home := type(error).__module__) not in ("builtins", "__main__"):
        name = f"{home}.{name}"
    notebook.say(
        "error",
        kind=type(error).__name__,
        message="\n".join([f"{name}: {text}" if text else name, *getattr(error, "__notes__", ())]),
        line=lines[number - 1].strip() if number and number <= len(lines) else "",
    )


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # closed by the code, or nobody reads it any more


if __name__ == "__main__":
    main()
