"""Tables of medians and ratios, printed and put into bench/README.md between two marks."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

README = Path(__file__).with_name("README.md")


def ratios(title: str, times: Mapping[str, Sequence[float]], mark_to_beat: str, unit: str = "ms") -> str:
    """One row for each contestant; the ratio is to the median of the one to beat."""
    goal = statistics.median(times[mark_to_beat])
    rows = [
        f"| {name} | {statistics.median(t):.1f} | {min(t):.1f} | {statistics.median(t) / goal:.2f} |"
        for name, t in times.items()
    ]
    head = f"| {title} | median {unit} | least {unit} | of {mark_to_beat} |"
    return "\n".join([head, "| --- | --- | --- | --- |", *rows])


def write(mark: str, table: str) -> None:
    """Put a table between its two marks in the README."""
    before, _, after = README.read_text().partition(mark)
    _, _, rest = after.partition(mark)
    README.write_text(f"{before}{mark}\n{table}\n{mark}{rest}")
