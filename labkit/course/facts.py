"""facts: what a check finds out about an answer, one sentence at a time.

Every chapter. A check is a list of facts; the first that does not hold stops
it, and says what was found, what was wanted, and a hint.
"""

import secrets
from collections.abc import Callable, Container
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.course import probes
from labkit.course.probes import Probe
from labkit.errors import LabkitError
from labkit.kernel import cgroups
from labkit.kernel.cgroups import Cgroup
from labkit.kernel.limits import Limits
from labkit.kernel.namespaces import Namespace
from labkit.ledger import Ledger

LONGEST = 300


class FactFailed(LabkitError):
    """One fact does not hold."""

    def __init__(self, sentence: str, found: str, wanted: str) -> None:
        super().__init__(sentence)
        self.sentence, self.found, self.wanted = sentence, found, wanted


def _words(value: Any) -> str:
    """A value as a reader would write it, not too long."""
    if isinstance(value, (set, frozenset)):
        text = ", ".join(sorted(map(_words, value))) or "nothing"
    elif isinstance(value, Namespace):
        text = value.oci
    else:
        text = value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


@dataclass(slots=True)
class Facts:
    """What a check is given: ways to state a fact, to run the answer, and to own what it needs for that."""

    ledger: Ledger
    mark: str
    folder: Path
    count: int = 0
    last: str = ""
    nonce: str = field(default_factory=lambda: f"n{secrets.token_hex(6)}")
    """A word that nobody can know beforehand; the same for one run of a check."""

    def equal(self, sentence: str, found: Any, wanted: Any) -> None:
        """The two are equal."""
        self._state(sentence, found == wanted, found, _words(wanted))

    def differs(self, sentence: str, found: Any, other: Any) -> None:
        """The two are different."""
        self._state(sentence, found != other, found, f"anything but {_words(other)}")

    def true(
        self, sentence: str, holds: bool, found: Any = "that it is not so", wanted: str = "that it is so"
    ) -> None:
        """It is so. Say in `found` what is the case instead."""
        self._state(sentence, bool(holds), found, wanted)

    def contains(self, sentence: str, found: Container[Any], wanted: Any) -> None:
        """What was wanted is among what was found."""
        self._state(sentence, wanted in found, found, f"{_words(wanted)} in it")

    def between(self, sentence: str, found: float, lowest: float, highest: float) -> None:
        """A number lies in a range, its ends included."""
        self._state(sentence, lowest <= found <= highest, found, f"from {lowest} to {highest}")

    def is_a(self, answer: Any, *kinds: type) -> None:
        """The answer is of one of these types."""
        wanted = " or ".join(_a(kind.__name__) for kind in kinds)
        self._state(f"the answer is {wanted}", isinstance(answer, kinds), _a(type(answer).__name__), wanted)

    def is_function(self, answer: Any) -> None:
        """The answer is a function, and not the result of calling one."""
        found = f"{_a(type(answer).__name__)}: {_words(answer)}"
        self._state("the answer is a function", callable(answer), found, "a function, without ()")

    def call(self, answer: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What the answer returns in a fresh child, by default with a mount namespace of its own."""
        return probes.call(answer, *args, **self._options(answer, options))

    def probe(self, answer: Callable[..., Any], *args: Any, **options: Any) -> AbstractContextManager[Probe]:
        """The answer run in a fresh child that is held for the block, as `course.probe`."""
        return probes.probe(answer, *args, **self._options(answer, options))

    def _options(self, answer: Any, options: dict[str, Any]) -> dict[str, Any]:
        self.is_function(answer)
        return {"namespaces": Namespace.MOUNT, "owner": self.mark} | options

    def owns(self, kind: str, name: str) -> str:
        """Write down what the answer is about to make, so that it goes whatever happens."""
        self.ledger.enter(kind, name)
        return name

    def scratch(self, name: str) -> Path:
        """A fresh directory for this check."""
        self.ledger.enter("tree", self.folder)
        directory = self.folder / f"{name}-{secrets.token_hex(4)}"
        directory.mkdir(parents=True)
        return directory

    def cgroup(self, name: str, limits: Limits | None = None) -> Cgroup:
        """A fresh cgroup for this check."""
        self.ledger.enter("cgroup", f"{cgroups.HOME}/{self.ledger.owner}")
        return cgroups.create(f"{cgroups.HOME}/{self.ledger.owner}/{name}-{secrets.token_hex(4)}", limits)

    def _state(self, sentence: str, holds: bool, found: Any, wanted: str) -> None:
        self.count += 1
        self.last = sentence
        if not holds:
            raise FactFailed(sentence, _words(found), wanted)
