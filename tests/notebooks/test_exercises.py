"""Every exercise from both sides: the reference passes, the stub is not answered, wrong answers fail."""

import json
import subprocess
import sys

from chapter_cases import Case, Lab, every_chapter


def verdicts(case: Case, lab: Lab) -> list[dict[str, str]]:
    """What the checks of a chapter say of each variant of each answer, judged in a process of its own."""
    judged = subprocess.run(
        [sys.executable, "-m", "labkit.course.gate", case.chapter.number],
        capture_output=True, text=True, check=False, env=lab.environment, timeout=280,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr[-4000:]
    return [json.loads(line) for line in judged.stdout.splitlines()]


@every_chapter()
def test_references_pass_stubs_and_wrong_answers_do_not(case: Case, lab: Lab) -> None:
    found = verdicts(case, lab)
    wanted = {"reference": "passed", "stub": "not answered"}
    surprises = [v for v in found if v["outcome"] != wanted.get(v["variant"], "failed")]

    assert not surprises, "\n\n".join(
        f"{v['exercise']}, {v['variant']}: {v['outcome']}\n{v['message']}" for v in surprises
    )
    for exercise in {v["exercise"] for v in found}:
        variants = {v["variant"] for v in found if v["exercise"] == exercise}
        assert len(variants - wanted.keys()) >= 1, f"{exercise} has no wrong answer in tests/notebooks/wrong"
    assert found, "the chapter has no exercise"
