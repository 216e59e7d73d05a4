"""How %%trace lists what the kernel was asked for."""

from labkit.course import magics
from labkit.kernel.trace import Operation, Trace

ID = "0123456789ab" + "c" * 52
RECORDED = Trace(
    [
        Operation("launcher", "cgroup.mkdir", f"/sys/fs/cgroup/labkit/{ID}/x", 5.0, 0.00004),
        Operation("init", "mknod", "<b>/dev/null", 5.0125, 0.000009, "Operation not permitted"),
    ]
)


def test_an_id_is_shown_as_docker_ps_shows_it_and_times_count_from_the_first_operation():
    shown = magics.rich_trace(RECORDED)

    assert "/labkit/0123456789ab…/x" in shown and ID not in shown
    assert ">0.00 ms<" in shown and ">12.50 ms<" in shown and ">40 µs<" in shown
    assert shown.count("<tr>") == 3


def test_what_was_said_is_text_and_a_refusal_stands_beside_it():
    shown = magics.rich_trace(RECORDED)

    assert "&lt;b&gt;/dev/null" in shown and "<b>" not in shown
    assert "Operation not permitted</span>" in shown


def test_the_plain_form_has_no_times_and_names_the_chapters():
    assert magics.plain_trace(RECORDED).splitlines() == [
        "launcher cgroup.mkdir   chapter 04",
        "init     mknod          chapter 03",
    ]


def test_without_an_operation_it_says_so():
    assert magics.plain_trace(Trace()) == "no kernel operation"
    assert magics.rich_trace(Trace()) == "<i>no kernel operation</i>"
