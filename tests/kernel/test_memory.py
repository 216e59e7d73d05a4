import fresh
import pytest

pytestmark = pytest.mark.requires("root")


@pytest.mark.parametrize(("populated", "copies"), [("", range(2000, 3000)), ("memory.populate()", range(50))])
def test_after_a_fork_a_populated_process_copies_no_page_when_it_writes(populated, copies):
    told = fresh.run(f"""
        import mmap, resource
        from labkit.kernel import memory
        shared = mmap.mmap(-1, 2048 * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        shared[:] = b"x" * len(shared)
        pid, pidfd = process.clone()
        if pid == 0:
            {populated}
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for page in range(2048):
                shared[page * 4096] = 121
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, flush=True)
            os._exit(0)
        process.wait(pidfd)
    """)

    assert int(told) in copies
