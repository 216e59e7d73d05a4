"""nft: give the kernel rules for packets, all of them or none.

Chapter 11. nft(8), libnftables(3). The text that nft(8) takes goes to the
library behind that program, which loads it as one transaction. The library
works on the network namespace of the thread that calls it.
"""

import ctypes
import json
from typing import Any

from labkit.errors import Unsupported
from labkit.kernel import trace

_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON
_library: ctypes.CDLL | None = None


def _libnftables() -> ctypes.CDLL:
    """The library, loaded when it is first needed: a container without a network needs none."""
    global _library
    if _library is None:
        try:
            library = ctypes.CDLL("libnftables.so.1")
        except OSError as missing:
            raise Unsupported(
                "libnftables is not installed",
                hint="apt-get install nftables; `labkit doctor` shows the rest",
            ) from missing
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = (ctypes.c_uint32,)
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            getattr(library, name).argtypes = (ctypes.c_void_p,)
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).argtypes = (ctypes.c_void_p,)
            getattr(library, name).restype = ctypes.c_char_p
        library.nft_ctx_output_set_flags.argtypes = (ctypes.c_void_p, ctypes.c_uint)
        library.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
        _library = library
    return _library


def run(commands: str) -> None:
    """Do what the text says, as a whole or not at all. OSError has nft's own words."""
    with trace.operation("nft", _said(commands)):
        _run(commands, 0)


def listing(command: str) -> list[dict[str, Any]]:
    """What a `list …` command shows, as the objects of libnftables-json(5)."""
    found: list[dict[str, Any]] = json.loads(_run(command, _JSON) or '{"nftables": []}')["nftables"]
    return [entry for entry in found if "metainfo" not in entry]


def has_table(family: str, name: str) -> bool:
    """Whether this network namespace has such a table."""
    wanted = {"family": family, "name": name}
    return any(wanted.items() <= entry.get("table", {}).items() for entry in listing("list tables"))


def find_element(family: str, table: str, collection: str, key: str) -> str:
    """An element of a set or map as nft lists it, `key : value` of a map; empty where there is none."""
    try:
        text = _run(f"get element {family} {table} {collection} {{ {key} }}", 0)
    except FileNotFoundError:
        return ""
    return " ".join(text.partition("elements = {")[2].partition("}")[0].split())


def remove_element(family: str, table: str, collection: str, element: str) -> bool:
    """Remove an element, `key` or `key : value`, if it is this very one; whether it was there."""
    key = element.partition(" : ")[0]
    if find_element(family, table, collection, key) != element:
        return False
    try:
        run(f"delete element {family} {table} {collection} {{ {key} }}")
    except FileNotFoundError:
        return False
    return True


def _run(commands: str, flags: int) -> str:
    library = _libnftables()
    context = library.nft_ctx_new(0)
    if not context:
        raise MemoryError("nft_ctx_new")
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_output_set_flags(context, flags)
        if library.nft_run_cmd_from_buffer(context, commands.encode()):
            text: str = library.nft_ctx_get_error_buffer(context).decode(errors="replace").strip()
            raise _refusal(text, commands)
        output: bytes = library.nft_ctx_get_output_buffer(context)
        return output.decode()
    finally:
        library.nft_ctx_free(context)


def _refusal(text: str, commands: str) -> OSError:
    """The library names the place as line and columns, then repeats the line; the reason is in the first."""
    reason = text.partition("Error: ")[2].partition("\n")[0] or text
    kinds: dict[str, type[OSError]] = {
        "No such file or directory": FileNotFoundError,
        "File exists": FileExistsError,
        "Operation not permitted": PermissionError,
    }
    kind = next((kind for words, kind in kinds.items() if words in reason), OSError)
    error = kind(f"nft: {reason}")
    error.add_note(text if text.count("\n") else f"while loading: {_said(commands)}")
    return error


def _said(commands: str) -> str:
    lines = [line.strip() for line in commands.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else f"{lines[0]} … ({len(lines)} lines)" if lines else "nothing"
