"""map: the tree of the package, printed from its modules' own first lines.

`python -m labkit.map`. A page that is printed cannot be out of date.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent

LAYERS = (
    "course", "widgets", "cli", "api", "compose", "build", "scan", "registry", "engine", "runtime", "network",
    "images", "observe", "kernel",
)  # fmt: skip
"""The folders from the top down: imports go down this list, never up."""


def first_line(module: Path) -> str:
    """What a module does, as its docstring's first line says after its name; nothing where it has none."""
    documented = ast.get_docstring(ast.parse(module.read_text())) or ""
    return documented.partition("\n")[0].partition(": ")[2]


def lines(package: Path = PACKAGE) -> Iterator[str]:
    """The tree, a line for each folder and module."""
    yield "labkit/"
    folders = [package / layer for layer in LAYERS if (package / layer / "__init__.py").is_file()]
    yield from _branches([*folders, *_modules(package)], "")


def _branches(entries: list[Path], stem: str) -> Iterator[str]:
    for entry in entries:
        last = entry == entries[-1]
        branch = stem + ("└── " if last else "├── ")
        if entry.is_file():
            yield _line(branch + entry.name, first_line(entry))
            continue
        yield _line(f"{branch}{entry.name}/", first_line(entry / "__init__.py"))
        folders = sorted(inside.parent for inside in entry.glob("*/__init__.py"))
        yield from _branches([*_modules(entry), *folders], stem + ("    " if last else "│   "))


def _modules(folder: Path) -> list[Path]:
    return sorted(module for module in folder.glob("*.py") if module.name != "__init__.py")


def _line(label: str, text: str) -> str:
    return f"{label:34}{text}".rstrip()


if __name__ == "__main__":
    print("\n".join(lines()))
