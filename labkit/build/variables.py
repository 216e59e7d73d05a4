"""variables: put values in the place of $NAME, and take quotes and escapes away.

Chapter 8. Docker's rules, which are a part of the shell's: $x, ${x}, ${x:-word},
${x:+word}, ${x:?message}, and each without its colon. Pure: text in, text out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from labkit.build.forms import SPACES
from labkit.errors import Invalid

_DEEPEST = 50
"""${a:-${b:-…}} is as deep as a person can write; more is an attack on the stack."""

_SPECIAL = "@*#?-$!0"


def expand(text: str, values: Mapping[str, str], escape: str = "\\") -> str:
    """One word: spaces stay where they are."""
    return _Scanner(text, values, escape).until("")


def expand_words(text: str, values: Mapping[str, str], escape: str = "\\") -> list[str]:
    """Many words: a value that holds spaces outside of quotes becomes several."""
    scanner = _Scanner(text, values, escape, parting=True)
    scanner.until("")
    return scanner.words()


def expand_text(text: str, values: Mapping[str, str]) -> str:
    """The body of a here-document: quotes are text, an escape counts before $ and itself alone."""
    return _Scanner(text, values, "\\", body=True).until("")


_PART = "\ue000\ue000"
"""Stands between words while they are put together; private use characters of Unicode."""


@dataclass(slots=True)
class _Scanner:
    """Reads a text from left to right, once."""

    text: str
    values: Mapping[str, str]
    escape: str
    parting: bool = False
    body: bool = False
    at: int = 0
    depth: int = 0
    made: str = ""

    def words(self) -> list[str]:
        """What was read, parted where spaces stood outside of quotes."""
        return [word for word in self.made.split(_PART) if word]

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        character = self.peek()
        self.at += 1
        return character

    def until(self, stop: str) -> str:
        """Everything up to an unquoted `stop`, which is taken too; "" is the end of the text."""
        made: list[str] = []
        while self.at < len(self.text):
            character = self.take()
            if stop and character == stop:
                return "".join(made)
            if character == "$":
                made.append(self._part(self._dollar()))
            elif character == self.escape:
                made.append(self._escaped())
            elif character == "'" and not self.body:
                made.append(self._single())
            elif character == '"' and not self.body:
                made.append(self._double())
            else:
                made.append(self._part(character))
        if stop:
            raise Invalid(f"unexpected end of statement while looking for matching {stop}")
        self.made = "".join(made)
        return self.made

    def _part(self, text: str) -> str:
        if not self.parting:
            return text
        return "".join(_PART if character in SPACES else character for character in text)

    def _escaped(self) -> str:
        if self.body and self.peek() not in ("$", self.escape):
            return self.escape
        return self.take()  # nothing at the very end

    def _single(self) -> str:
        end = self.text.find("'", self.at)
        if end < 0:
            raise Invalid("unexpected end of statement while looking for matching single-quote")
        inside, self.at = self.text[self.at : end], end + 1
        return inside

    def _double(self) -> str:
        made = ""
        while self.at < len(self.text):
            character = self.take()
            if character == '"':
                return made
            if character == "$":
                made += self._dollar()
            elif character == self.escape:
                following = self.take()
                made += following if following in ('"', "$", self.escape) else self.escape + following
            else:
                made += character
        raise Invalid("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        if self.peek() != "{":
            name = self._name()
            return self.values.get(name, "") if name else "$"
        self.take()
        name = self._name()
        if not name:
            raise Invalid("bad substitution: ${ must be followed by the name of a variable")
        character = self.take()
        if character == "}":
            return self.values.get(name, "")
        colon = character == ":"
        how = self.take() if colon else character
        if how not in ("-", "+", "?"):
            raise Invalid(
                f"unsupported modifier ({how}) in substitution" if how else "bad substitution: } is missing",
                hint="${name:-word}, ${name:+word} and ${name:?word} are known",
            )
        return self._choose(name, how, colon, self._word())

    def _word(self) -> str:
        """The word after a modifier, which may hold variables itself."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Invalid(f"variables are nested more than {_DEEPEST} deep")
        parting, self.parting = self.parting, False
        word = self.until("}")
        self.parting = parting
        self.depth -= 1
        return word

    def _choose(self, name: str, how: str, colon: bool, word: str) -> str:
        value = self.values.get(name)
        there = bool(value) if colon else value is not None
        if how == "+":
            return word if there else ""
        if there:
            return value or ""
        if how == "-":
            return word
        raise Invalid(
            f"{name}: {word or ('not allowed to be empty' if colon else 'not allowed to be unset')}"
        )

    def _name(self) -> str:
        """A name, a number, or one of the shell's own marks; nothing where none stands here."""
        begin = self.at
        first = self.peek()
        if first and first in _SPECIAL:
            return self.take()
        if first.isdigit():
            while self.peek().isdigit():
                self.at += 1
        else:
            while self.peek() == "_" or self.peek().isalnum():
                self.at += 1
        return self.text[begin : self.at]
