"""report: what a run of the chapters has shown, as HTML pages that need nothing else.

Every chapter. An index with a row for each chapter, and beside it a folder
with a page for each. The pages follow the reader's light or dark theme.
"""

import html
import time
from pathlib import Path
from typing import Any

from labkit.course.running import Outcome

STYLE = """
:root { color-scheme: light dark; --text: #1c1c1c; --page: #fff; --soft: #f4f4f5; --line: #d4d4d8;
  --link: #1565c0;  --good: #2e7d32; --bad: #c62828;
  --jp-ui-font-color2: #666; --jp-error-color1: var(--bad); --jp-success-color1: var(--good);
  --jp-brand-color1: var(--link); }
@media (prefers-color-scheme: dark) { :root { --text: #e4e4e7; --page: #18181b; --soft: #27272a;
  --line: #3f3f46; --link: #90caf9; --good: #81c784; --bad: #ef9a9a; --jp-ui-font-color2: #a1a1aa; } }
body { color: var(--text); background: var(--page); font: 16px/1.5 system-ui, sans-serif; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
a { color: var(--link); }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .3rem .8rem; border-bottom: 1px solid var(--line); }
pre, code { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: var(--soft); padding: .6rem .8rem; overflow-x: auto; border-radius: 4px; }
img, svg { max-width: 100%; }
.passed { color: var(--good); } .failed { color: var(--bad); }
.prompt, .jp-InputPrompt, .jp-OutputPrompt, .anchor-link { display: none; }
.jp-OutputArea-output pre, .output pre { background: none; border-radius: 0;
  border-left: 3px solid var(--line); }
"""


def write(file: Path, outcomes: list[Outcome]) -> Path:
    """Write the index and the chapters' pages; the index's path."""
    folder = file.with_suffix(".chapters")
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        page = folder / f"{outcome.chapter.name}.html"
        page.write_text(
            _page(outcome.chapter.title, _back(file) + _verdict(outcome) + _body(outcome.notebook))
        )
    rows = "".join(_row(outcome, folder.name) for outcome in outcomes)
    passed = sum(outcome.passed for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    when = time.strftime("%Y-%m-%d %H:%M")
    summary = f"<p>{passed} of {len(outcomes)} chapters passed in {seconds:.1f} s, {when}.</p>"
    failure = "" if passed == len(outcomes) else "<th>first failure</th>"
    head = f'<tr><th colspan="2">chapter</th><th>outcome</th><th>time</th>{failure}</tr>'
    file.write_text(_page("The chapters", f"<h1>The chapters</h1>{summary}<table>{head}{rows}</table>"))
    return file


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{_colours()}</style></head><body>{body}</body></html>\n"
    )


def _row(outcome: Outcome, folder: str) -> str:
    chapter = outcome.chapter
    name = html.escape(chapter.title)
    cells = (
        chapter.number,
        f'<a href="{folder}/{chapter.name}.html">{name}</a>',
        f'<span class="{_word(outcome)}">{_word(outcome)}</span>',
        f"{outcome.seconds:.1f} s",
        *([html.escape(outcome.error.splitlines()[0])] if outcome.error else []),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _word(outcome: Outcome) -> str:
    return "passed" if outcome.passed else "failed"


def _back(index: Path) -> str:
    return f'<p><a href="../{index.name}">all chapters</a></p>'


def _verdict(outcome: Outcome) -> str:
    error = f"<pre>{html.escape(outcome.error)}</pre>" if outcome.error else ""
    return f'<p class="{_word(outcome)}">{_word(outcome)} in {outcome.seconds:.1f} s</p>{error}'


def _body(notebook: Any) -> str:
    """The cells and outputs; a live view shows as its picture or text."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="basic")  # type: ignore[no-untyped-call]
    preferred = ("text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/plain")
    exporter.config.NbConvertBase.display_data_priority = list(preferred)
    body, _ = exporter.from_notebook_node(notebook)
    return str(body)


def _colours() -> str:
    """Pygments' colours for both themes."""
    from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n.highlight {{ background: none; }}"
