import pytest

from labkit.engine import volumes
from labkit.errors import Invalid


@pytest.mark.parametrize("name", ["ab", "Data_1.x-y", "0" * 64])
def test_a_name_by_dockers_grammar_is_taken(name):
    assert volumes.check_name(name) == name


@pytest.mark.parametrize("name", [".bad", "bad!name", "x/y", "../etc", "-a", "ab\n", "a" * 256, "é1"])
def test_another_name_is_refused_and_said(name):
    with pytest.raises(Invalid, match="includes invalid characters for a local volume name") as refused:
        volumes.check_name(name)

    assert f'create {name}: "{name}"' in str(refused.value)


def test_one_letter_is_too_short():
    with pytest.raises(Invalid, match="create a: volume name is too short, names should be at least two"):
        volumes.check_name("a")


def test_a_name_for_one_that_nobody_names_has_64_hexadecimal_digits():
    names = {volumes.new_name() for _ in range(50)}

    assert len(names) == 50
    assert all(len(name) == 64 and not set(name) - set("0123456789abcdef") for name in names)
