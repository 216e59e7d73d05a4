"""references: an image's name as people write it, and in full: registry, repository, tag, digest.

Chapter 7. The grammar is that of distribution's reference package, which every client shares.
"""

import hashlib
import re
from dataclasses import dataclass

from labkit.errors import Invalid

HUB = "docker.io"
OFFICIAL = "library/"
DEFAULT_TAG = "latest"
MOST_NAME_BYTES = 255

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PATH_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = rf"(?:{_DOMAIN}/)?{_PATH_PART}(?:/{_PATH_PART})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"(?P<name>{_NAME})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?", re.ASCII)
_REMOTE = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*", re.ASCII)
_WHOLE_ID = re.compile(r"[a-f0-9]{64}")

DIGEST_HEX = {"sha256": 64, "sha512": 128}
"""The algorithms of image-spec's descriptor.md that must be known, and how many digits each has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One name, in full. `str` writes it in full too, `familiar` as Docker shows it."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Without tag and digest, in full."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """Without tag and digest, and without what goes without saying."""
        if self.registry != HUB:
            return self.name
        short = self.repository.removeprefix(OFFICIAL)
        return short if "/" not in short else self.repository

    @property
    def familiar(self) -> str:
        """As docker image ls has it, with the tag."""
        return self.familiar_name + self._suffix()

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def tagged(self) -> "Reference":
        """The same with :latest, where it has neither tag nor digest."""
        if self.tag or self.digest:
            return self
        return Reference(registry=self.registry, repository=self.repository, tag=DEFAULT_TAG)


def parse(text: str) -> Reference:
    """A reference as docker(1) understands it; Invalid in Docker's words."""
    if _WHOLE_ID.fullmatch(text):
        raise Invalid(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    registry, remainder = _split_registry(text)
    remote = remainder.partition("@")[0]
    remote = remote[: remote.find(":")] if ":" in remote else remote
    if remote != remote.lower():
        raise _refused(f"repository name ({remote}) must be lowercase")
    found = _REFERENCE.fullmatch(f"{registry}/{remainder}")
    if found is None or not _REMOTE.fullmatch(remote):
        raise _refused(repr(text))
    if len(found["name"]) > MOST_NAME_BYTES:
        raise _refused(f"repository name must not be more than {MOST_NAME_BYTES} characters")
    digest = found["digest"] or ""
    return Reference(
        registry=registry,
        repository=remote,
        tag=found["tag"] or "",
        digest=check_digest(digest) if digest else "",
    )


def _split_registry(text: str) -> tuple[str, str]:
    """The registry and the rest: a first part is a registry if it looks like a host, or has capitals."""
    first, slash, rest = text.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        first, rest = HUB, text
    if first == f"index.{HUB}":
        first = HUB
    if first == HUB and "/" not in rest:
        rest = OFFICIAL + rest
    return first, rest


def _refused(why: str) -> Invalid:
    return Invalid(
        f"invalid reference format: {why}", hint="lower-case names with / between, such as lab/busybox"
    )


def digest_of(data: bytes) -> str:
    """What names some content."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def check_digest(digest: str) -> str:
    """A digest that can be verified: `sha256:` or `sha512:` and as many lower-case digits as it has."""
    algorithm, _, digits = digest.partition(":")
    if algorithm not in DIGEST_HEX:
        raise Invalid(f"unsupported digest algorithm: {digest!r}", hint="sha256 and sha512 are known")
    if not re.fullmatch(rf"[a-f0-9]{{{DIGEST_HEX[algorithm]}}}", digits):
        raise Invalid(f"invalid digest: {digest!r}", hint=f"{DIGEST_HEX[algorithm]} lower-case digits")
    return digest
