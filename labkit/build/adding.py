"""adding: what ADD does beyond COPY: fetch a URL, and unpack a local archive.

Chapter 8. RFC 9110. A file from the network has mode 600, and belongs to root.
"""

import hashlib
import os
import posixpath
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from labkit.build.context import is_archive
from labkit.build.copying import Copy
from labkit.build.sources import Source, open_tree
from labkit.errors import Invalid, LabkitError, NotFound, Unsupported
from labkit.images import extract

if TYPE_CHECKING:
    from labkit.build.work import Work

_TIMEOUT_SECONDS = 60
_BLOCK_BYTES = 1 << 18
_MOST_BYTES = 16 << 30
_CHECKSUM = re.compile(r"(sha256|sha384|sha512):([0-9a-f]+)")
_GIT = re.compile(r"(git://|git@|ssh://).*|https?://.*\.git(#.*)?")


def is_url(name: str) -> bool:
    """Whether ADD has to fetch it."""
    if _GIT.fullmatch(name):
        raise Unsupported(f"ADD of a git repository is not supported: {name}", hint="clone it, and COPY it")
    return name.startswith(("http://", "https://"))


def check_checksum(text: str, names: list[str]) -> None:
    """--checksum is for one file of the network, and can be verified."""
    if not text:
        return
    if len(names) != 1 or not is_url(names[0]):
        raise Invalid("--checksum is for one source, which is a URL")
    found = _CHECKSUM.fullmatch(text)
    if found is None or len(found[2]) != hashlib.new(found[1]).digest_size * 2:
        raise Invalid(f"invalid checksum: {text}", hint="such as sha256: and 64 digits")


def fetched(work: "Work", url: str, checksum: str) -> Source:
    """The file behind a URL, verified where a checksum was given."""
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen  # takes longer to load than a cached build takes in all

    name = posixpath.basename(unquote(urlsplit(url).path))
    if not name or "\0" in name or name in (".", ".."):
        raise Invalid(f"cannot determine a file name from {url}", hint="the path of the URL has none")
    place = work.new_place()
    algorithm, _, expected = checksum.partition(":")
    digest = hashlib.new(algorithm or "sha256")
    try:
        with urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            file = place / name
            _store(answer, file, digest)
            _set_time(file, answer.headers.get("Last-Modified", ""))
    except HTTPError as error:
        raise NotFound(f"ADD failed: {url} answered {error.code} {error.reason}") from None
    except (URLError, TimeoutError, ValueError) as error:
        raise LabkitError(f"ADD failed: {url} cannot be fetched: {error}") from None
    if expected and digest.hexdigest() != expected:
        raise Invalid(f"digest mismatch {algorithm}:{digest.hexdigest()}: {algorithm}:{expected}")
    return Source(work.keep_tree(open_tree(place, url)), name, name)


def _store(answer: BinaryIO, file: Path, digest: "hashlib._Hash") -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    total = 0
    with open(descriptor, "wb") as writer:
        while block := answer.read(_BLOCK_BYTES):
            total += len(block)
            if total > _MOST_BYTES:
                raise LabkitError(f"ADD failed: more than {_MOST_BYTES >> 30} GiB came")
            digest.update(block)
            writer.write(block)


def _set_time(file: Path, told: str) -> None:
    """The time that the server tells, or the beginning of all, so that no clock is in a layer."""
    from email.utils import parsedate_to_datetime

    try:
        seconds = int(parsedate_to_datetime(told).timestamp())
    except (ValueError, TypeError, OverflowError):
        seconds = 0
    os.utime(file, (seconds, seconds))


def unpacked(request: Copy, draft: Path, held: ExitStack) -> Copy:
    """The same with each local archive replaced by what is in it."""
    from labkit.images.compression import Reader

    found: list[Source] = []
    for number, source in enumerate(request.sources):
        if _is_local_archive(source):
            place = draft / f"unpacked-{number}"
            place.mkdir(mode=0o755)
            with open(source.tree.open(source.path), "rb") as reader:
                extract.apply(Reader(reader), place, hashing=False)
            tree = open_tree(place, source.name, keeps_owners=True)
            held.callback(tree.close)
            found.append(Source(tree, "", source.name))
        else:
            found.append(source)
    return replace(request, sources=found)


def _is_local_archive(source: Source) -> bool:
    """Whether it is a file that tar(1) would unpack; one that was fetched never is unpacked."""
    if source.tree.name.startswith(("http://", "https://")) or not _is_file(source):
        return False
    from labkit.images.compression import Reader

    with open(source.tree.open(source.path), "rb") as reader:
        if not is_archive(reader.read(512)):
            return False
        reader.seek(0)
        try:
            archive, head = Reader(reader), b""
            while len(head) < 512 and (more := archive.read(512 - len(head))):
                head += more
        except Invalid:
            return False
    return head[257:262] == b"ustar"


def _is_file(source: Source) -> bool:
    entry = source.entry
    return not entry.is_directory and not entry.target and entry.status.st_size >= 20
