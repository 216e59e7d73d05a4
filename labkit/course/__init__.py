'''course: everything a chapter calls, and the recipe for writing one.

Every chapter begins with `from labkit import course`.

In a cell
    course.start("03")          needs checked, own leftovers cleared, magics there; run it at any time
    course.child("…", namespaces="pid,uts")    lines in a fresh process; output and failure show in the cell
    course.child(function, 1, x=2).value       the same for a function; what it returns travels as JSON
    course.child.sh("ip link", namespaces="net")    a shell script (set -eu) in a fresh process
    with course.child.start("print(1); input()") as c:    one that lives on, to be looked at from outside:
        c.pid  c.pidfd  c.read_line()  c.read()  c.say("go on")  c.wait()  c.kill()  c.alive
    course.fails("…", namespaces="user")       lines that must fail in a child; shows how
    with course.expected_failure(OSError): …   the same for lines of the notebook itself
    course.owns("mount", path)  write an object down before a cell makes it by hand; returns its name
                                (kinds: mount cgroup link netns nft tree loop; nft by "inet name")
    course.scratch("layers")    a fresh directory of the chapter, fit to be an overlay's layer
    course.cgroup("web", Limits(memory_bytes=…))    a fresh cgroup labkit/course-NN/web
    course.network("blue", "10.5.0.0/24")           a fresh network of the chapter, for labkit's containers
    course.check("03.pivot", my_function)      the check of an exercise
    course.use("03.pivot")      a function from an earlier chapter: the reader's own, else the reference
    course.show(mounts.enter_root)             source with its path, at the end of a chapter
    course.progress()           how far the reader has come
    course.finish()             the last cell: nothing may be left behind
    course.reset("03")          undo what a chapter left; without a number, all of them

Options of child, child.sh, child.start, fails
    namespaces="pid,mnt" (or Namespace flags): unshared first; pid and time fork too, and `.pid` is the
    process inside. mnt makes / private. user maps root to 100000 (`ids=[IdMap(0, 0)]` for another map).
    root=DIR: pivot_root into it, with a fresh /proc where pid is new. cgroup=a Cgroup: born in it, and an
    OOM kill is told as one. timeout_seconds=60. check=True raises. quiet=True shows nothing. Further keywords
    become variables of the lines, or arguments of the function.
    A child may use without import: os sys signal socket subprocess time json errno Path, and of labkit.kernel
    capabilities cgroups devices idmap libc mounts namespaces process Namespace MountFlag IdMap Limits.
    A function takes along what it mentions: imports, plain values, other functions of the notebook.
    A child dies with the notebook. What it started itself lives until finish(), reset() or start().

Cell magics
    %%child --new uts,pid --root {rootfs} --timeout 30    Python lines; the plain values they mention
    %%sh --new net                              a shell script; $name is the notebook's text, number or path
    %%trace [--timeline]                        the kernel operations of the cell, and who explains them

A source, notebooks/source/NN_slug.py, is a jupytext py:percent file:

    # %% [markdown]
    # # 03 · A root of its own
    # %% tags=["parameters"]
    size_bytes = 65536
    # %%
    from labkit import course
    course.start("03")
    # %% tags=["nbval-check-output"]
    course.child("print(os.getpid())", namespaces="pid")
    # %%
    # %%sh --new net        (in the file a magic is a comment; the lines below it may be comments too)
    # ip -brief link
    # %%
    def my_root(directory):
        """What the reader is to write."""
        ### BEGIN SOLUTION
        os.chroot(directory)
        ### END SOLUTION
    # %%
    course.check("03.root", my_root)
    # %%
    course.finish()

The solutions between two checks belong to the second. In the student's notebook each becomes
`raise NotImplementedError()`; at the left margin it becomes a comment, so write `answer = ...` before
the region, and the stub is the Ellipsis. Tags: nbval-check-output compares a cell whose output is a fact
(no pids, paths, times in it); nbval-ignore-output for one that differs each time (%%trace: its
HTML has times); `parameters` for literals.

A check, labkit/course/exercises/chNN.py:

    from labkit.course import Facts, exercise

    @exercise("03.root", title="Enter a root", points=2, hint="chroot(2) leaves the working directory …")
    def root(facts: Facts, answer: object) -> None:
        with facts.probe(answer, str(facts.scratch("root"))) as held:      # runs in a fresh child and stays
            facts.equal("its root is the directory", os.readlink(f"/proc/{held.pid}/root"), …)

    Facts: equal differs true contains between is_a is_function; nonce; call(f, …) → value;
    probe(f, …, namespaces=, cgroup=, returns=False) → Probe: pid value alive descendants() namespaces()
    own_namespaces() status("NSpid") mounts() inside("uts", "hostname") until(lambda: …) kill();
    scratch cgroup owns: all gone after the check. Each fact is a sentence that is true when it holds.
    An error, a hang, an exit, a stub or a wrong type in the answer are failed checks by themselves.

Wrong answers, tests/notebooks/wrong/NN.py: at least one for each exercise, in the same percent form.
The cell stands in for that exercise's solution cells, and its check must say no:

    # %% 03.root: only prints that it did
    def my_root(directory):
        print("new root:", directory)

Then: `labkit course build 03`, and `pytest tests/notebooks -k 03`.
'''

from labkit.course.answers import use
from labkit.course.chapter import LeftOver, cgroup, finish, network, owns, reset, scratch, start
from labkit.course.checks import CheckFailed, NotAnswered, check, exercise
from labkit.course.children import Child, ChildFailed, Result, child
from labkit.course.facts import Facts
from labkit.course.failures import NothingFailed, expected_failure, fails
from labkit.course.probes import Probe, probe
from labkit.course.reading import show
from labkit.course.standing import show as progress

__all__ = [
    "CheckFailed",
    "Child",
    "ChildFailed",
    "Facts",
    "LeftOver",
    "NotAnswered",
    "NothingFailed",
    "Probe",
    "Result",
    "cgroup",
    "check",
    "child",
    "exercise",
    "expected_failure",
    "fails",
    "finish",
    "network",
    "owns",
    "probe",
    "progress",
    "reset",
    "scratch",
    "show",
    "start",
    "use",
]
