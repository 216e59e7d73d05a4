"""Images are built: steps from the cache or anew, stages side by side, and failures told with their place."""

import contextlib
import hashlib
import io
import os
import tarfile
import threading
import time
from pathlib import Path

import pytest

from labkit.build import builder, cache, context
from labkit.build.dockerfile import DockerfileError
from labkit.build.events import Kind
from labkit.build.work import BuildFailed, Options
from labkit.errors import LabkitError
from labkit.images import store

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox")


@pytest.fixture
def place(tmp_path):
    """A context with a file."""
    (tmp_path / "file").write_text("content\n")
    return tmp_path


def build(engine, place, text, listener=None, **options):
    with context.of_directory(place, text=text) as found:
        return builder.build(engine, found, Options(**options), listener)


def told(built):
    """Each step's instruction with what became of it."""
    return [
        (event.step.text.split()[0], str(event.kind))
        for event in built.events
        if event.kind in (Kind.CACHED, Kind.DONE)
    ]


def run(engine, built, *command):
    """What a command prints in a container of what was built."""
    from labkit.engine import attached, starting
    from labkit.engine.containers import Record, new_id
    from labkit.runtime.spec import NO_LIMITS

    record = Record(
        id=new_id(), name="x", image="", layers=built.image.layers, args=command,
        env=built.config.run.env, working_directory=built.config.run.working_directory or "/",
        user=built.config.run.user, hostname="x", read_only=False, limits=NO_LIMITS, created_at=0.0,
    )  # fmt: skip
    with starting.prepared(engine.paths, record, kept=False) as ready:
        request = starting.request(engine.paths, record, attached=True)
        result = attached.run(engine.launcher, request, first_files=[ready.held])
    assert result.exit_code == 0, result
    return result.stdout


# ---------------------------------------------------------------- the cache

TEXT = """
FROM lab/busybox
RUN echo one > /one
COPY file /file
RUN cat /proc/sys/kernel/random/uuid > /random
ENV A=b
"""


def test_a_second_build_does_nothing_and_makes_the_same_image(engine, place):
    first, second = build(engine, place, TEXT), build(engine, place, TEXT)

    assert [kind for _, kind in told(first)] == ["done"] * 4
    assert [kind for _, kind in told(second)] == ["cached"] * 4
    assert second.image_id == first.image_id
    assert run(engine, second, "cat", "/one", "/file").split() == ["one", "content"]


def test_the_first_miss_misses_all_that_follow(engine, place):
    first = build(engine, place, TEXT)
    (place / "file").write_text("changed\n")
    second = build(engine, place, TEXT)

    assert told(second) == [("RUN", "cached"), ("COPY", "done"), ("RUN", "done"), ("ENV", "done")]
    assert run(engine, second, "cat", "/random") != run(engine, first, "cat", "/random")


def test_a_step_that_runs_again_and_makes_the_same_layer_still_misses_all_that_follow(engine, place):
    text = "FROM lab/busybox\nRUN true\nRUN cat /proc/sys/kernel/random/uuid > /random\n"
    build(engine, place, text)
    again = build(engine, place, text.replace("true", "true # changed"))

    assert told(again) == [("RUN", "done"), ("RUN", "done")]


@pytest.mark.parametrize(
    ("change", "hits"),
    [
        (lambda file: os.utime(file, (0, 0)), True),
        (lambda file: file.chmod(0o755), False),
        (lambda file: file.write_text("other\n"), False),
        (lambda file: os.setxattr(file, "user.note", b"x"), False),
        (lambda file: os.chown(file, 1, 2), True),  # a copy from the context belongs to root anyway
        (lambda file: (file.unlink(), file.write_text("content\n")), True),
        (lambda file: (file.unlink(), file.symlink_to("other")), False),
    ],
    ids="time mode content attribute owner written-anew kind".split(),
)
def test_a_copy_hits_as_long_as_nothing_that_shows_has_changed(engine, place, change, hits):
    (place / "other").write_text("of another file\n")
    os.utime(place / "file", (10**9, 10**9))
    (place / "file").chmod(0o644)
    text = "FROM lab/busybox\nCOPY file /\n"
    build(engine, place, text)
    change(place / "file")

    assert told(build(engine, place, text)) == [("COPY", "cached" if hits else "done")]


def test_no_cache_does_every_step_again(engine, place):
    build(engine, place, TEXT)
    assert [kind for _, kind in told(build(engine, place, TEXT, no_cache=True))] == ["done"] * 4


def test_a_build_arg_counts_from_its_arg_on(engine, place):
    text = "FROM lab/busybox\nRUN echo before > /before\nARG V=0\nRUN echo after $V > /after\nRUN true\n"
    build(engine, place, text, build_args={"V": "1"})
    again = build(engine, place, text, build_args={"V": "2"})

    assert [kind for _, kind in told(again)] == ["cached", "done", "done", "done"]
    assert run(engine, again, "cat", "/after") == "after 2\n"


def test_a_proxy_reaches_a_run_and_misses_nothing(engine, place):
    text = "FROM lab/busybox\nRUN echo $HTTP_PROXY > /proxy\n"
    first = build(engine, place, text, build_args={"HTTP_PROXY": "one"})
    again = build(engine, place, text, build_args={"HTTP_PROXY": "two"})

    assert told(again) == [("RUN", "cached")]
    assert run(engine, first, "cat", "/proxy") == "one\n"
    assert "one" not in first.config.encode().decode()


def test_an_arg_that_nobody_takes_is_told(engine, place):
    built = build(engine, place, "FROM lab/busybox\nARG KNOWN\n", build_args={"KNOWN": "1", "STRAY": "2"})

    warnings = [event.text for event in built.events if event.kind is Kind.WARNING]
    assert warnings == ["[Warning] One or more build-args ['STRAY'] were not consumed"]


def test_a_layer_that_is_gone_is_made_again(engine, place):
    first = build(engine, place, TEXT)
    layer = store.layer_directory(engine.paths, first.image.layers[1])
    layer.rename(layer.with_name(".draft-gone"))

    assert told(build(engine, place, TEXT))[0] == ("RUN", "done")


def test_an_image_is_a_cache_for_who_has_no_records(engine, place):
    first = build(engine, place, TEXT, tags=("lab/built",))
    assert cache.forget(engine.paths) == 4

    again = build(engine, place, TEXT, cache_from=("lab/built", "lab/not-there"))
    assert [kind for _, kind in told(again)] == ["cached"] * 4
    assert again.image.layers == first.image.layers
    cache.forget(engine.paths)
    assert [kind for _, kind in told(build(engine, place, TEXT))] == ["done"] * 4


# ---------------------------------------------------------------- stages


def test_stages_that_do_not_wait_for_each_other_run_side_by_side(engine, place):
    text = """
FROM lab/busybox AS one
RUN --mount=type=cache,target=/meet touch /meet/one; until [ -e /meet/two ]; do usleep 1000; done
FROM lab/busybox AS two
RUN --mount=type=cache,target=/meet touch /meet/two; until [ -e /meet/one ]; do usleep 1000; done
FROM scratch
COPY --from=one /etc/hostname /one
COPY --from=two /etc/hostname /two
"""
    build(engine, place, text)  # each waits for the other: one after the other would never end


def test_a_stage_that_nobody_needs_is_not_built(engine, place):
    text = "FROM lab/not-there AS unused\nRUN false\nFROM lab/busybox AS wanted\nRUN true\nFROM wanted\n"
    built = build(engine, place, text, target="wanted")

    assert {event.step.stage for event in built.events if event.step} == {"wanted"}


def test_a_failure_ends_the_other_stages_at_once(engine, place):
    text = """
FROM lab/busybox AS slow
RUN sleep 60
FROM lab/busybox AS wrong
RUN sleep 0.2; exit 7
FROM scratch
COPY --from=slow /x /x
COPY --from=wrong /x /x
"""
    began = time.monotonic()
    with pytest.raises(BuildFailed, match="exit code: 7"):
        build(engine, place, text)
    assert time.monotonic() - began < 20
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stage")]


# ---------------------------------------------------------------- failures


def test_a_run_that_fails_tells_its_place_its_words_and_its_end(engine, place):
    text = "FROM lab/busybox\n\nRUN echo first \\\n && seq 1 50; echo said on stderr >&2; exit 3\nRUN never\n"
    with pytest.raises(BuildFailed) as caught:
        build(engine, place, text)

    failure = caught.value
    assert (failure.file, failure.line, failure.command_exit_code) == ("Dockerfile", 3, 3)
    assert str(failure).startswith("Dockerfile:3: RUN echo first  && seq 1 50;")
    assert "did not complete successfully: exit code: 3" in str(failure)
    assert failure.output.splitlines()[-2:] == ["50", "said on stderr"]
    assert len(failure.output.splitlines()) == 20


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("FROM lab/busybox\nRUN exit 137", 2, "exit code: 137 (killed by SIGKILL)"),
        ('FROM lab/busybox\nRUN ["not-there"]', 2, "executable file not found"),
        ("FROM lab/busybox\nCOPY nothing /x", 2, "file not found in build context"),
        ("FROM lab/busybox\nCOPY ../x /x", 2, "forbidden path outside the build context"),
        ("FROM lab/busybox\nCOPY file file /x", 2, "must be a directory and end with a /"),
        ("FROM lab/busybox\nCOPY --chown=ghost file /x", 2, "can't find uid for user ghost"),
        ("FROM lab/busybox\nCOPY --chown=0:ghosts file /x", 2, "can't find gid for group ghosts"),
        ("FROM lab/busybox\nCOPY --chmod=u+x file /x", 2, "invalid chmod parameter"),
        ("FROM lab/busybox\nCOPY --from=lab/nope /x /x", 2, "o such image: lab/nope"),
        ("FROM lab/busybox\nCOPY file /etc/passwd/x", 2, "it is there and no directory"),
        ("FROM lab/nope", 1, "o such image: lab/nope"),
        ("FROM lab/busybox\nRUN --security=insecure true", 2, "--security=insecure is not allowed"),
        ("FROM lab/busybox\nRUN --mount=type=secret,id=k,required true", 2, "secret k: not found"),
        ("FROM lab/busybox\nADD https://host.invalid/x.git /x", 2, "git repository is not supported"),
        ("FROM lab/busybox\nADD http://127.0.0.1:9/x /x", 2, "cannot be fetched"),
        ("FROM lab/busybox\nADD --checksum=sha256:0 http://127.0.0.1:9/x /x", 2, "invalid checksum"),
        ("FROM lab/busybox\nEXPOSE x", 2, "invalid containerPort"),
        ("FROM scratch\nRUN true", 2, "no such file or directory"),
        ("FROM lab/busybox\nUSER ghost\nRUN true", 3, "unable to find user ghost"),
    ],
)
def test_what_goes_wrong_is_told_with_file_and_line(engine, place, text, line, message):
    with pytest.raises((BuildFailed, DockerfileError)) as caught:
        build(engine, place, text)

    assert str(caught.value).startswith(f"Dockerfile:{line}: ")
    assert message in str(caught.value)


def test_a_failure_leaves_no_draft_and_no_image(engine, place):
    with pytest.raises(BuildFailed):
        build(engine, place, TEXT + "RUN false\n", tags=("lab/never",))

    assert list(engine.paths.layers.glob(".draft-*")) == []
    with pytest.raises(LabkitError):
        store.get(engine.paths, "lab/never")


def test_a_file_that_changes_during_the_build_is_no_step(engine, place):
    def meddle(event):
        if event.kind is Kind.BEGUN and event.step.text.startswith("COPY"):
            (place / "file").write_text("changed just now\n")

    with pytest.raises(BuildFailed, match="was changed during the build"):
        build(engine, place, "FROM lab/busybox\nCOPY file /\n", meddle)


# ---------------------------------------------------------------- what a RUN has


def test_a_secret_is_seen_by_its_run_and_by_nobody_after(engine, place, tmp_path_factory):
    secret = tmp_path_factory.mktemp("secrets") / "key"
    secret.write_text("hush-4711")
    text = """
FROM lab/busybox
RUN --mount=type=secret,id=key sha256sum < /run/secrets/key > /sum && stat -c '%a %u' /run/secrets/key > /mode
RUN --mount=type=secret,id=key,env=KEY,target=/tmp/k,mode=0440,uid=5 echo -n "$KEY" | sha256sum > /again
"""
    built = build(engine, place, text, secrets={"key": secret})

    expected = hashlib.sha256(b"hush-4711").hexdigest()
    assert run(engine, built, "cat", "/sum", "/again", "/mode").split() == [
        expected, "-", expected, "-", "400", "0",
    ]  # fmt: skip
    assert run(engine, built, "ls", "/tmp").strip() == ""
    whole = [file for file in engine.paths.root.rglob("*") if file.is_file() and not file.is_symlink()]
    assert not [file for file in whole if b"hush-4711" in file.read_bytes()]
    with contextlib.suppress(FileNotFoundError):
        assert not list(Path(engine.paths.run).rglob("secret*"))


def test_a_cache_mount_outlives_the_build_and_is_in_no_layer(engine, place):
    text = "FROM lab/busybox\nRUN --mount=type=cache,target=/c,id=x,mode=700 echo >> /c/n; cat /c/n > /seen\n"
    build(engine, place, text)
    again = build(engine, place, text, no_cache=True)

    assert len(run(engine, again, "cat", "/seen")) == 2
    assert run(engine, again, "sh", "-c", "ls -d /c || echo gone").strip() == "gone"


def test_a_build_without_network_sees_the_loopback_alone(engine, place):
    text = "FROM lab/busybox\nRUN ls /sys/class/net > /seen\n"

    assert run(engine, build(engine, place, text, network="none"), "cat", "/seen") == "lo\n"
    with pytest.raises(BuildFailed, match="--network=host is not allowed"):
        build(engine, place, "FROM lab/busybox\nRUN --network=host true\n", network="none")


def test_output_comes_as_it_is_said(engine, place):
    heard = []
    began = time.monotonic()

    def listen(event):
        if event.kind is Kind.OUTPUT:
            heard.append((time.monotonic() - began, event.stream, event.data))

    build(engine, place, "FROM lab/busybox\nRUN echo early; sleep 0.5; echo late >&2\n", listen)

    assert [(stream, data) for _, stream, data in heard] == [("stdout", b"early\n"), ("stderr", b"late\n")]
    assert heard[1][0] - heard[0][0] > 0.4


def test_nothing_stays_of_what_was_only_mounted_on(engine, place):
    text = """
FROM lab/busybox AS full
FROM scratch
COPY --from=full /bin /bin
RUN --mount=type=tmpfs,target=/a/b/c --mount=type=cache,target=/made/own true && mkdir /made/kept
"""
    built = build(engine, place, text, network="host")
    last = store.layer_directory(engine.paths, built.image.layers[-1])

    assert sorted(str(path.relative_to(last)) for path in last.rglob("*")) == ["made", "made/kept"]


# ---------------------------------------------------------------- contexts


def packed(files, compression=""):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=f"w:{compression}" if compression else "w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    made.seek(0)
    return made


@pytest.mark.parametrize("compression", ["", "gz", "xz", "bz2"])
def test_a_context_may_come_as_a_tar(engine, compression):
    files = {
        "Dockerfile": "FROM scratch\nCOPY . /all\n", "a": "a", "d/b": "b", "d/c": "c",
        ".dockerignore": "d/c\nDockerfile\n.dockerignore",
    }  # fmt: skip
    with context.of_stream(packed(files, compression), engine.paths.layers) as found:
        built = builder.build(engine, found)

    layer = store.layer_directory(engine.paths, built.image.layers[0])
    assert sorted(str(p.relative_to(layer)) for p in layer.rglob("*")) == ["all", "all/a", "all/d", "all/d/b"]
    assert list(engine.paths.layers.glob(".draft-*")) == []


def test_a_dockerfile_may_come_alone(engine):
    with context.of_stream(io.BytesIO(b"FROM lab/busybox\nRUN true\n"), engine.paths.layers) as found:
        assert told(builder.build(engine, found)) == [("RUN", "done")]


def test_a_hostile_context_is_refused_and_touches_nothing(engine, tmp_path):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo(f"../../../../../../../..{tmp_path}/escaped")
        archive.addfile(member)
    made.seek(0)
    with pytest.raises(LabkitError, match="escaped"), context.of_stream(made, engine.paths.layers):
        pytest.fail("it was taken")

    assert list(tmp_path.iterdir()) == []
    assert list(engine.paths.layers.glob(".draft-*")) == []


def test_no_link_of_an_image_or_a_context_leads_out(engine, place, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_text("of the host")
    (place / "out").symlink_to(outside)
    (place / "up").symlink_to("../" * 20 + str(outside))
    for source in ("out/secret", "up/secret", "out/*"):
        with pytest.raises(BuildFailed, match="file not found"):
            build(engine, place, f"FROM lab/busybox\nCOPY {source} /x/\n")

    text = (
        f"FROM lab/busybox\nRUN ln -s {outside} /trap && ln -s {outside}/secret /file\nCOPY file /trap/new\n"
    )
    built = build(engine, place, text + "COPY file /file\n")
    assert [file.name for file in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "of the host"
    assert run(engine, built, "cat", f"{outside}/secret", f"{outside}/new") == "content\ncontent\n"


def test_triggers_run_in_the_next_build(engine, place):
    build(engine, place, "FROM lab/busybox\nONBUILD COPY file /copied\nONBUILD RUN wc -c < /copied > /size\n",
          tags=("lab/trigger",))  # fmt: skip
    built = build(engine, place, "FROM lab/trigger\nRUN cat /size > /again\n")

    assert [word for word, _ in told(built)] == ["COPY", "RUN", "RUN"]
    assert run(engine, built, "cat", "/again") == "8\n"
    assert built.config.run.onbuild == ()
