import pytest

from labkit.build import changes
from labkit.errors import Invalid, LabkitError
from labkit.images.configs import RunConfig


def test_a_config_is_changed_instruction_by_instruction():
    run = changes.apply(
        RunConfig(env=("A=1",), command=("old",)),
        ["ENV A=2 B=$A", 'CMD ["new", "words"]', "ENTRYPOINT run me", "WORKDIR /w", "LABEL a=b", "EXPOSE 80"],
    )

    assert run.env == ("A=2", "B=1")
    assert (run.command, run.entrypoint) == (("new", "words"), ("/bin/sh", "-c", "run me"))
    assert (run.working_directory, run.labels, run.exposed_ports) == ("/w", {"a": "b"}, ("80/tcp",))


@pytest.mark.parametrize("text", ["RUN true", "COPY a b", "FROM x", "ARG a=b"])
def test_what_would_need_a_build_is_refused(text):
    with pytest.raises(Invalid, match="not a valid change command"):
        changes.apply(RunConfig(), [text])


def test_what_is_no_instruction_is_refused():
    with pytest.raises(LabkitError):
        changes.apply(RunConfig(), ["NONSENSE x"])
