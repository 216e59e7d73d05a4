"""The doctor's table for people, its object for scripts."""

import json

import pytest
from click.testing import CliRunner

from labkit.cli.doctor import doctor
from labkit.observe import machine
from labkit.observe.machine import Row, Status

HEALTHY = [Row(name, "there", Status.OK, "", "") for name in machine.BY_NAME]


@pytest.fixture
def rows(monkeypatch):
    made = list(HEALTHY)
    monkeypatch.setattr(machine, "rows", lambda: made)
    return made


def with_missing(rows: list[Row], name: str) -> None:
    index = [row.name for row in rows].index(name)
    rows[index] = Row(name, "not here", Status.MISSING, "every container", "another kernel")


def test_scripts_get_every_feature_with_its_fields():
    answer = json.loads(CliRunner().invoke(doctor, ["--json"]).stdout)

    assert [feature["name"] for feature in answer["features"]] == list(machine.BY_NAME)
    assert isinstance(answer["runs"], bool)
    for feature in answer["features"]:
        assert set(feature) == {"name", "value", "status", "cost", "remedy"}
        assert feature["status"] in ("ok", "limited", "missing")
        assert bool(feature["cost"]) == (feature["status"] != "ok"), feature


def test_a_whole_machine_is_said_to_be_one(rows):
    shown = CliRunner().invoke(doctor)

    assert shown.exit_code == 0
    assert "The lab runs here, with everything." in shown.stdout


def test_a_lack_that_stops_the_lab_is_an_exit_code(rows):
    with_missing(rows, "overlay")

    shown = CliRunner().invoke(doctor)

    assert shown.exit_code == 1
    assert "The lab cannot run here: overlay missing." in shown.stdout
    assert json.loads(CliRunner().invoke(doctor, ["--json"]).stdout)["runs"] is False


def test_a_lack_that_costs_a_cell_is_told_with_its_cost_and_remedy(rows):
    with_missing(rows, "psi")

    shown = CliRunner().invoke(doctor)

    assert shown.exit_code == 0
    assert "costs: every container" in shown.stdout
    assert "→ another kernel" in shown.stdout
