import pytest

from labkit.widgets.timeline_axis import Axis, Fold, round_step

BUSY = [number / 2000 for number in range(11)]


def test_a_long_quiet_stretch_is_folded_and_what_is_around_it_keeps_its_length():
    axis = Axis.of([*BUSY, 2.0, 2.001])

    (fold,) = axis.folds
    assert (fold.at, fold.until) == (0.005, 2.0)
    assert axis.span == pytest.approx(0.006 * 1.06)
    assert axis.place(0.003) == 0.003
    assert axis.place(2.001) - axis.place(2.0) == pytest.approx(0.001)
    assert axis.place(2.0) - axis.place(0.005) == pytest.approx(fold.shown)


def test_a_trace_without_quiet_stretches_is_shown_as_it_is():
    axis = Axis.of(BUSY)

    assert axis == Axis(0.005, ())
    assert [axis.place(at) for at in BUSY] == BUSY


def test_a_handful_of_operations_is_never_folded():
    assert Axis.of([0.0, 0.001, 30.0, 30.001]).folds == ()


def test_moments_of_no_length_far_apart_are_not_folded_to_nothing():
    axis = Axis.of(float(3**number) for number in range(14))

    assert axis.span >= 1e-5
    assert len(list(axis.ticks())) < 100


def test_a_place_never_goes_back():
    axis = Axis.of([*BUSY, 5.0, 5.001, 60.0])
    places = [axis.place(at / 10) for at in range(600)]

    assert len(axis.folds) == 2
    assert places == sorted(places)
    assert places[-1] <= axis.span


@pytest.mark.parametrize("span", [3e-6, 0.0045, 1, 7.3, 999])
def test_the_marks_are_round_and_few(span):
    found = list(Axis(span, ()).ticks())

    assert found[0] == 0
    assert 2 <= len(found) <= 9
    assert found[1] in [pytest.approx(factor * 10**power) for factor in (1, 2, 5) for power in range(-8, 4)]
    assert found[-1] <= span * (1 + 1e-9)


def test_no_mark_lies_inside_a_fold():
    axis = Axis(0.01, (Fold(0.005, 2.0, 0.001),))

    assert not [at for at in axis.ticks() if 0.005 < at < 2.0]
    assert [at for at in axis.ticks() if at >= 2.0]


@pytest.mark.parametrize(("rough", "step"), [(1, 1), (1.1, 2), (3, 5), (0.06, 0.1), (0.02, 0.02)])
def test_a_step_is_the_next_round_one(rough, step):
    assert round_step(rough) == pytest.approx(step)
