"""records: JSON saved whole, so a reader sees the old record or the new one, never a part.

Written to a neighbour, synced, renamed: rename(2), fsync(2).
"""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any


def save(file: Path, record: Any, *, durable: bool = True, mode: int = 0o600) -> None:
    """Replace `file` by `record` (a dataclass, or what json takes) in one step.

    `durable=False` leaves out the two syncs: right for what speaks of kernel
    objects, which a power cut ends anyway.
    """
    content = dataclasses.asdict(record) if dataclasses.is_dataclass(record) else record  # type: ignore[arg-type]
    text = json.dumps(content, indent=2, default=os.fspath)
    draft = file.with_name(f".{file.name}.{os.getpid()}.{time.monotonic_ns()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "w") as writer:
            writer.write(text + "\n")
            writer.flush()
            if durable:
                os.fsync(descriptor)
        os.replace(draft, file)  # noqa: PTH105 (rename(2), as the text has it)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(file.parent)


def load(file: Path) -> Any:
    """What `save` wrote; FileNotFoundError where nothing was."""
    return json.loads(file.read_text())


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut, fsync(2)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
