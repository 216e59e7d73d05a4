"""map: the tree of the package, printed from its modules' own first lines.

`python -m labkit.map`. A page that is printed cannot be out of date.
"""

import ast
import textwrap
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
    there = [layer for layer in LAYERS if (package / layer / "__init__.py").is_file()]
    loose = sorted(module for module in package.glob("*.py") if module.name != "__init__.py")
    for layer in there:
        yield _line("├── ", f"{layer}/", first_line(package / layer / "__init__.py"))
        modules = sorted(module for module in (package / layer).glob("*.py") if module.name != "__init__.py")
        for module in modules:
            branch = "│   └── " if module == modules[-1] else "│   ├── "
            yield _line(branch, module.name, first_line(module))
    for module in loose:
        yield _line("└── " if module == loose[-1] else "├── ", module.name, first_line(module))


def _line(branch: str, name: str, text: str) -> str:
    return f"{branch + name:30}{textwrap.shorten(text, 120, placeholder=' …')}".rstrip()


if __name__ == "__main__":
    print("\n".join(lines()))
