import pytest

from labkit.kernel import capabilities


def test_names_and_bits_are_each_others_mirror():
    chosen = ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]

    assert capabilities.mask(chosen) == 1 | 1 << 21 | 1 << 40
    assert capabilities.names(capabilities.mask(chosen)) == chosen
    assert capabilities.mask(["chown", "CHOWN", "cap_chown"]) == 1


def test_an_unknown_one_is_named():
    with pytest.raises(ValueError, match="'CAP_EVERYTHING'"):
        capabilities.mask(["CAP_EVERYTHING"])
