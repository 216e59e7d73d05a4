from labkit.kernel import process
from labkit.runtime import status
from labkit.runtime.status import State, Status

RAN = State(status=Status.RUNNING, pid=41, start_ticks=1, monitor_pid=42, monitor_start_ticks=1)
ENDED = State(status=Status.EXITED, exit_code=3, monitor_pid=42, monitor_start_ticks=1)


def test_nothing_written_is_created(tmp_path):
    assert status.load(tmp_path).status is Status.CREATED


def test_one_whose_monitor_was_killed_has_exited(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "is_alive", lambda pid, ticks: False)
    status.save(tmp_path, RAN)

    assert (status.load(tmp_path).status, status.load(tmp_path).exit_code) == (Status.EXITED, 137)


def test_a_last_word_that_comes_while_the_kernel_is_asked_is_heard(tmp_path, monkeypatch):
    def ends_now(pid, ticks):
        status.save(tmp_path, ENDED)
        return False

    status.save(tmp_path, RAN)
    monkeypatch.setattr(process, "is_alive", ends_now)

    assert status.load(tmp_path) == ENDED


def test_a_new_life_that_begins_while_the_kernel_is_asked_is_seen(tmp_path, monkeypatch):
    again = State(status=Status.RUNNING, pid=51, start_ticks=9, monitor_pid=52, monitor_start_ticks=9)

    def begins_anew(pid, ticks):
        status.save(tmp_path, again)
        return ticks == 9

    status.save(tmp_path, RAN)
    monkeypatch.setattr(process, "is_alive", begins_anew)

    assert status.load(tmp_path) == again
