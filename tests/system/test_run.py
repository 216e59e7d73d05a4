import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from labkit.engine.attached import TimedOut
from labkit.kernel import cgroups, namespaces
from labkit.kernel.limits import Limits
from labkit.kernel.namespaces import Namespace

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox")
MIB = 2**20
BUSYBOX = "lab/busybox"


def test_a_command_says_hello_and_is_gone(engine):
    result = engine.run(BUSYBOX, ["echo", "hello"])

    assert (result.exit_code, result.stdout, result.stderr) == (0, "hello\n", "")


def test_stdout_and_stderr_and_the_exit_code_come_back_apart(engine):
    result = engine.run(BUSYBOX, ["sh", "-c", "echo out; echo err >&2; exit 3"])

    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_a_command_killed_by_a_signal_ends_with_128_and_its_number(engine):
    assert engine.run(BUSYBOX, ["sh", "-c", "sh -c 'kill -SEGV $$'; exit $?"]).exit_code == 139


def test_stdin_is_read_to_its_end_and_output_may_be_large(engine):
    result = engine.run(BUSYBOX, ["wc", "-c"], stdin=b"x" * 3_000_000)
    large = engine.run(BUSYBOX, ["sh", "-c", "seq 200000; seq 200000 >&2"])

    assert result.stdout.strip() == "3000000"
    assert large.stdout == large.stderr == "".join(f"{n}\n" for n in range(1, 200_001))


def test_it_has_its_own_namespaces_root_hostname_and_pid_1(engine):
    script = "for n in /proc/self/ns/*; do echo $n $(readlink $n); done; echo pid $$; hostname; ls /"
    told = engine.run(BUSYBOX, ["sh", "-c", script], hostname="box").stdout.splitlines()
    inside = {
        line.split()[0].rpartition("/")[2]: int(line.split("[")[1].rstrip("]"))
        for line in told
        if "ns/" in line
    }
    ours = {kind.link: number for kind, number in namespaces.identities("self").items()}

    different = {name for name, number in ours.items() if inside[name] != number}
    assert different == {"mnt", "uts", "ipc", "pid", "net", "cgroup"}
    assert "pid 1" in told
    assert "box" in told
    assert "bin" in told and "work" not in told


def test_the_loopback_answers_and_nothing_else_is_there(engine):
    result = engine.run(BUSYBOX, ["sh", "-c", "ping -c1 -W1 127.0.0.1 >/dev/null && ls /sys/class/net"])

    assert (result.exit_code, result.stdout) == (0, "lo\n")


def test_dangerous_parts_of_proc_are_masked_or_read_only(engine):
    result = engine.run(
        BUSYBOX, ["sh", "-c", "wc -c < /proc/timer_list; echo 1 > /proc/sys/kernel/panic; ls /sys/firmware"]
    )

    assert result.stdout == "0\n"
    assert "Read-only file system" in result.stderr


def test_it_holds_dockers_capabilities_without_mknod(engine):
    told = engine.run(BUSYBOX, ["grep", "Cap", "/proc/self/status"]).stdout
    sets = dict(line.split(":\t") for line in told.splitlines())

    expected = f"{0xA80425FB & ~(1 << 27):016x}"  # Docker's default set, and MKNOD is number 27
    assert sets["CapEff"] == sets["CapPrm"] == sets["CapBnd"] == expected
    assert sets["CapInh"] == sets["CapAmb"] == "0" * 16


def test_a_user_holds_no_capability_and_has_the_groups_of_the_image(engine):
    told = engine.run(
        BUSYBOX, ["sh", "-c", "id -u; id -g; grep CapEff /proc/self/status; cd /root"], user="nobody"
    )
    numbers = engine.run(BUSYBOX, ["sh", "-c", "id -u; id -g"], user="1234:4321")

    assert told.stdout.split() == ["65534", "65534", "CapEff:", "0" * 16]
    assert "ermission denied" in told.stderr
    assert numbers.stdout.split() == ["1234", "4321"]


def test_environment_and_working_directory_are_as_asked(engine):
    result = engine.run(
        BUSYBOX,
        ["sh", "-c", "echo $GREETING $HOME $PATH; pwd"],
        env={"GREETING": "a=b c"},
        working_directory="/new/place",
    )

    assert (
        result.stdout
        == "a=b c /root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/new/place\n"
    )


def test_no_descriptor_of_the_host_is_open_inside(engine):
    assert engine.run(BUSYBOX, ["sh", "-c", "ls /proc/$$/fd; true"]).stdout.split() == ["0", "1", "2"]


def test_a_broken_pipe_ends_a_program_inside_as_outside(engine):
    assert engine.run(BUSYBOX, ["sh", "-c", "(yes; echo $? >&2) | head -n1"]).stderr.strip() in {"141", ""}


def test_a_limit_is_what_the_kernel_holds_it_to(engine):
    limits = Limits(memory_bytes=32 * MIB, processes=16, cpus=0.5)
    container = engine.create(BUSYBOX, ["sleep", "60"], limits=limits)
    container.start()
    usage = container.usage()

    assert (usage.memory_limit_bytes, usage.processes_limit, usage.cpu_limit) == (32 * MIB, 16, 0.5)
    assert container.id in Path(f"/proc/{container.pid}/cgroup").read_text()


def test_running_out_of_memory_is_told_apart_from_a_kill(engine):
    hungry = engine.run(
        BUSYBOX, ["sh", "-c", "x=a; while true; do x=$x$x; done"], limits=Limits(memory_bytes=16 * MIB)
    )
    modest = engine.run(
        BUSYBOX, ["sh", "-c", "kill -9 $$ || true; exit 1"], limits=Limits(memory_bytes=16 * MIB)
    )

    assert (hungry.exit_code, hungry.oom_killed) == (137, True)
    assert not modest.oom_killed


def test_a_read_only_root_takes_no_write_but_dev_shm_does(engine):
    result = engine.run(BUSYBOX, ["sh", "-c", "touch /x; touch /dev/shm/y && echo shm"], read_only=True)

    assert "Read-only file system" in result.stderr
    assert result.stdout == "shm\n"


def test_what_takes_too_long_is_killed_and_its_output_kept(engine):
    engine.run(BUSYBOX, ["true"])  # the time to make the image and the launcher is not what is measured
    with pytest.raises(TimedOut, match=r"1\.5 s") as late:
        engine.run(BUSYBOX, ["sh", "-c", "echo begun; sleep 60"], timeout_seconds=1.5)

    assert late.value.result.stdout == "begun\n"
    assert late.value.result.seconds < 30


def test_a_time_that_is_over_before_the_start_ends_the_command_too(engine):
    with pytest.raises(TimedOut) as late:
        engine.run(BUSYBOX, ["sleep", "60"], timeout_seconds=0.0)

    assert late.value.result.exit_code == 137
    assert late.value.result.seconds < 30


def test_many_run_at_once(engine):
    results = []

    def one(number: int) -> None:
        results.append(engine.run(BUSYBOX, ["sh", "-c", f"sleep 0.1; echo {number}"]).stdout.strip())

    threads = [threading.Thread(target=one, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(results, key=int) == [str(n) for n in range(12)]


def test_two_hundred_starts_leave_no_growth(engine):
    engine.run(BUSYBOX, ["true"])

    def standing() -> tuple[int, int, int]:
        groups = sum(
            len(list((h.mount_point / cgroups.HOME).rglob("cgroup.procs"))) for h in cgroups.hierarchies()
        )
        mounts = len(Path("/proc/self/mountinfo").read_text().splitlines())
        return groups, mounts, len(list(Path(f"/proc/{engine.launcher.pid}/fd").iterdir()))

    def settled() -> tuple[int, int, int]:
        """As it stands once the launcher has closed the last report and made the next init."""
        found = standing()
        while True:
            time.sleep(0.2)
            last, found = found, standing()
            if last == found:
                return found

    def resident_kib() -> int:
        status = Path(f"/proc/{engine.launcher.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def growth_kib_of(starts: int) -> int:
        memory = resident_kib()
        for _ in range(starts):
            engine.run(BUSYBOX, ["true"])
        assert settled() == before
        return resident_kib() - memory

    for _ in range(20):
        engine.run(BUSYBOX, ["true"])
    before = settled()

    # Python takes memory by the MiB: one step may fall into either hundred, a leak falls into both.
    assert min(growth_kib_of(100), growth_kib_of(100)) < 256


def test_the_trace_tells_the_start_in_the_order_of_its_processes(engine):
    from labkit.kernel import trace

    with trace.record() as seen:
        engine.run(BUSYBOX, ["true"])
    processes = list(dict.fromkeys(operation.process for operation in seen))
    init = [operation.call for operation in seen if operation.process == "init"]

    assert processes == ["engine", "launcher", "init"]
    assert init.index("mount") < init.index("pivot_root") < init.index("capset") < init.index("execve")
    assert {operation.chapter for operation in seen if operation.call == "pivot_root"} == {"03"}
    assert [operation.at_seconds for operation in seen] == sorted(operation.at_seconds for operation in seen)


@pytest.mark.requires("strace")
def test_strace_sees_the_calls_that_the_trace_tells(engine, tmp_path):
    """The second witness: what init says it asked is what the kernel was asked."""
    from labkit.kernel import trace

    engine.run(BUSYBOX, ["true"])
    log = tmp_path / "strace"
    strace = subprocess.Popen(
        [
            "strace",
            "-f",
            "-qq",
            "-e",
            "trace=pivot_root,sethostname,umount2,setresuid",
            "-o",
            str(log),
            "-p",
            str(engine.launcher.pid),
        ],
        stderr=subprocess.PIPE,
    )
    assert strace.stderr is not None
    time.sleep(1)
    engine.run(BUSYBOX, ["true"])  # the init that was made before strace came
    with trace.record() as seen:
        engine.run(BUSYBOX, ["true"], hostname="witness")
    strace.terminate()
    strace.communicate(timeout=10)
    told = log.read_text()

    assert 'sethostname("witness"' in told
    for call in ("pivot_root", "umount2"):
        assert any(operation.call == call for operation in seen)
        assert call in told


def test_the_bundle_is_json_that_says_what_runs(engine):
    container = engine.create(BUSYBOX, ["sleep", "60"], hostname="told")
    container.start()
    config = json.loads((engine.paths.bundles / container.id / "config.json").read_text())

    assert config["process"]["args"] == ["sleep", "60"]
    assert config["hostname"] == "told"
    assert {entry["type"] for entry in config["linux"]["namespaces"]} == {
        "pid", "network", "ipc", "uts", "mount", "cgroup",
    }  # fmt: skip
    assert (engine.paths.bundles / container.id).stat().st_mode & 0o777 == 0o700
    assert namespaces.identity(container.pid, Namespace.PID) != namespaces.identity("self", Namespace.PID)
