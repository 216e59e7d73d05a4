"""notebooks: from one source a student's notebook with stubs, and a solved one that is run.

Every chapter. The same source gives the same bytes: cell ids come from what a
cell is, and nothing of the run but its outputs is kept. Solution and check
cells carry nbgrader's metadata, schema version 3.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import nbformat

from labkit.course import checks
from labkit.course.sources import Cell, Source

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
NO_FACT = "nbval-ignore-output"
UNSTABLE_MIMES = ("application/vnd.jupyter.widget-view+json",)
"""Live views name a model of one kernel; the text and the picture beside them stay."""


def student(source: Source) -> Any:
    """What a student opens: stubs, no hidden tests, no outputs."""
    return _notebook(source, [cell.stub for cell in source.cells])


def solved(source: Source) -> Any:
    """The same with solutions and hidden tests, not yet run: also what an instructor gives to nbgrader."""
    return _notebook(source, [cell.text for cell in source.cells])


def _notebook(source: Source, texts: list[str]) -> Any:
    metadata = {
        "kernelspec": KERNEL,
        "language_info": {"name": "python"},
        "labkit": {"chapter": source.chapter.number, "source_sha256": source.sha256},
    }
    notebook = nbformat.v4.new_notebook(metadata=metadata)  # type: ignore[no-untyped-call]
    taken: set[str] = set()
    for cell, text in zip(source.cells, texts, strict=True):
        name = _id(cell, taken)
        if cell.kind == "markdown":
            made = nbformat.v4.new_markdown_cell(text, id=name)  # type: ignore[no-untyped-call]
        else:
            made = nbformat.v4.new_code_cell(text, id=name, metadata=_metadata(cell, name))  # type: ignore[no-untyped-call]
        notebook.cells.append(made)
    return notebook


def _id(cell: Cell, taken: set[str]) -> str:
    """A name that stays when cells come and go around it: the exercise's, or one from the text."""
    wanted = (cell.check or cell.solution).replace(".", "-") + ("-answer" if cell.solution else "")
    if not wanted:
        wanted = "c" + hashlib.sha256(f"{cell.kind}\n{cell.text}".encode()).hexdigest()[:10]
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}-{count}"
    taken.add(name)
    return name


def _metadata(cell: Cell, name: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"tags": list(cell.tags)} if cell.tags else {}
    if cell.solution or cell.check:
        metadata["nbgrader"] = {
            "schema_version": 3,
            "grade_id": name,
            "grade": bool(cell.check),
            "locked": bool(cell.check),
            "solution": bool(cell.solution),
            "task": False,
        }
    if cell.check:
        metadata["nbgrader"]["points"] = checks.find(cell.check).points
    return metadata


def normalise(notebook: Any) -> Any:
    """Take out of a run notebook all that differs between two runs with equal results."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("papermill", None)
    notebook.metadata["kernelspec"] = dict(KERNEL)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        for key in ("execution", "papermill", "scrolled", "collapsed"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = _joined([_stable(output) for output in cell.outputs])
    return notebook


def _stable(output: Any) -> Any:
    for mime in UNSTABLE_MIMES:
        output.get("data", {}).pop(mime, None)
    if output.output_type in ("display_data", "execute_result"):
        output.metadata = {}
    return output


def _joined(outputs: list[Any]) -> list[Any]:
    """Pieces of one stream in a row as one piece: where they are cut depends on the moment."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def shown_errors(notebook: Any) -> list[str]:
    """Tracebacks among the outputs: a cell whose result cannot be drawn shows one, and goes on."""
    return [
        f"{cell.id}: {output.ename}: {output.evalue}"
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "error"
    ]


def keep_old_outputs(new: Any, old: Any) -> None:
    """Where a cell's output is no fact and its source is as before, keep the output that is there.

    One that shows an error was never right.
    """
    if old.metadata.get("labkit", {}).get("source_sha256") != new.metadata["labkit"]["source_sha256"]:
        return
    wrong = {told.partition(":")[0] for told in shown_errors(old)}
    before = {cell.id: cell for cell in old.cells if cell.id not in wrong}
    for cell in new.cells:
        same = before.get(cell.id)
        if same is not None and NO_FACT in cell.metadata.get("tags", ()) and same.source == cell.source:
            cell.outputs = same.outputs


def text_of(notebook: Any) -> str:
    """The file's content: sorted keys, one newline at the end."""
    return str(nbformat.writes(notebook, version=4)) + "\n"  # type: ignore[no-untyped-call]


def load(file: Path) -> Any:
    """A notebook from its file."""
    return nbformat.read(file, as_version=4)  # type: ignore[no-untyped-call]


def without_outputs(notebook: Any) -> str:
    """What of a notebook comes from its source alone, to compare: a run adds outputs and numbers."""
    copy = json.loads(json.dumps(notebook))
    for cell in copy["cells"]:
        cell.pop("outputs", None)
        cell.pop("execution_count", None)
    return json.dumps(copy, sort_keys=True)
