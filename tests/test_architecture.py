"""The project is built as it says: layers, first lines, chapters, environments."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from labkit import map as labkit_map
from labkit.observe import machine

PROJECT = Path(__file__).parents[1]
MODULES = sorted((PROJECT / "labkit").rglob("*.py"))
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())


def test_imports_go_down_the_layers_and_never_up():
    program = Path(sys.prefix) / "bin/lint-imports"

    done = subprocess.run([program, "--no-cache"], cwd=PROJECT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PROJECT)))
def test_a_module_opens_with_its_name_and_what_it_does(module):
    name = module.parent.name if module.name == "__init__.py" else module.stem
    documented = ast.get_docstring(ast.parse(module.read_text())) or ""

    assert documented.startswith(f"{name}: ")
    assert documented.partition("\n")[0].endswith((".", ":"))


def test_the_printed_map_has_every_module():
    printed = "\n".join(labkit_map.lines())

    missing = [
        module.name for module in MODULES if module.name != "__init__.py" and module.name not in printed
    ]
    assert missing == []


def test_files_and_functions_stay_small():
    too_long = []
    for module in MODULES:
        text = module.read_text()
        if text.count("\n") > 450:
            too_long.append(f"{module.relative_to(PROJECT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 60:
                    too_long.append(f"{module.relative_to(PROJECT)}: {node.name}, {lines} lines")
    assert too_long == []


def test_conda_gets_the_python_and_the_packages_of_pyproject():
    conda = yaml.safe_load((PROJECT / "environment.yml").read_text())
    plain = [entry for entry in conda["dependencies"] if isinstance(entry, str)]
    (from_pip,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]

    extras = ",".join(PYPROJECT["project"]["optional-dependencies"])
    assert from_pip == [f"-e .[{extras}]"]
    assert f"python{PYPROJECT['project']['requires-python']}" in plain
    assert "pip" in plain
    assert conda["name"] == PYPROJECT["project"]["name"]


def test_every_dependency_says_why_it_is_there():
    lines = (PROJECT / "pyproject.toml").read_text().splitlines()
    names = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["project"]["optional-dependencies"]["test"]]

    unexplained = [name for name in names for line in lines if f'"{name}"' in line and "# " not in line]
    assert [name for name in unexplained if not name.startswith("types-")] == []


def test_every_package_on_the_lists_says_why_it_is_there():
    lines = [
        line
        for name in ("packages.txt", "packages-test.txt", "packages-peers.txt")
        for line in (PROJECT / "scripts" / name).read_text().splitlines()
    ]

    assert [line for line in lines if "# " not in line] == []


def test_make_test_runs_every_folder_that_has_tests():
    runner = (PROJECT / "scripts/test").read_text()
    listed = set(re.search(r"^parts=\((.*)\)$", runner, re.MULTILINE)[1].split()) | {"unit"}

    assert {
        file.relative_to(PROJECT / "tests").parts[0] for file in (PROJECT / "tests").glob("*/**/test_*.py")
    } == listed


def test_scripts_can_be_started():
    scripts = [file for file in (PROJECT / "scripts").iterdir() if file.suffix == ""]
    assert scripts
    assert [script.name for script in scripts if script.is_file() and not os.access(script, os.X_OK)] == []


CHAPTERS = tomllib.loads((PROJECT / "labkit/course/chapters.toml").read_text())["chapter"]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter["number"])
def test_a_chapter_of_the_list_is_there_with_all_it_names(chapter):
    name = f"{chapter['number']}_{chapter['slug']}"
    files = (f"source/{name}.py", f"{name}.ipynb", f"solved/{name}.ipynb")

    assert [file for file in files if not (PROJECT / "notebooks" / file).is_file()] == []
    assert [need for need in chapter["needs"] if need not in machine.BY_NAME] == []
    assert importlib.util.find_spec(chapter["module"]) is not None
    assert f"| {chapter['number']} | {chapter['title']} |" in (PROJECT / "README.md").read_text()


def test_no_chapter_stands_beside_the_list():
    sources = {file.stem for file in (PROJECT / "notebooks/source").glob("[0-9][0-9]_*.py")}

    assert sources <= {f"{chapter['number']}_{chapter['slug']}" for chapter in CHAPTERS}
