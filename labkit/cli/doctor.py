"""doctor: what this machine can do, and what each missing thing costs."""

import json
import sys
from dataclasses import asdict

import click

from labkit.observe import machine
from labkit.observe.machine import Row, Status


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts: one object with all features.")
def doctor(as_json: bool) -> None:
    """Show what this machine can do; exit 1 where the lab cannot run."""
    rows = machine.rows()
    lacking = [row.name for row in rows if row.name in machine.NEEDED and row.status is Status.MISSING]
    if as_json:
        click.echo(json.dumps({"runs": not lacking, "features": [asdict(row) for row in rows]}, indent=2))
    else:
        _draw(rows)
        _conclude(lacking, [row.name for row in rows if row.status is not Status.OK])
    if lacking:
        sys.exit(1)


def _draw(rows: list[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("feature", no_wrap=True)
    table.add_column("what is there, what its lack costs, what helps", overflow="fold")
    signs = {
        Status.OK: Text("✓", "green"),
        Status.LIMITED: Text("~", "yellow"),
        Status.MISSING: Text("✗", "red"),
    }
    for row in rows:
        there = Text(row.value)
        if row.cost:
            there.append(f"\ncosts: {row.cost}", "yellow")
        if row.remedy:
            there.append(f"\n→ {row.remedy}", "cyan")
        table.add_row(signs[row.status], row.name, there)
    Console().print(table)


def _conclude(lacking: list[str], short: list[str]) -> None:
    if lacking:
        click.echo(f"The lab cannot run here: {', '.join(lacking)} missing.")
    elif short:
        click.echo(f"The lab runs here. Missing or limited: {', '.join(short)}.")
    else:
        click.echo("The lab runs here, with everything.")
