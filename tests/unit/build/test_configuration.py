"""Each instruction changes the config as Docker does."""

from dataclasses import replace

import pytest

from labkit.build import configuration, options
from labkit.build.dockerfile import parse
from labkit.build.scope import Scope
from labkit.errors import LabkitError
from labkit.images.configs import Healthcheck, RunConfig


def built(text, base=None, **scope):
    """The config after some lines, and what the history says."""
    run, seen, said, commanded = configuration.start(base or RunConfig()), Scope(given={}, **scope), [], False
    for instruction in parse(text).instructions:
        change = configuration.apply(run, instruction, seen, has_command=commanded)
        run, commanded = change.run, commanded or instruction.keyword == "CMD"
        said.append(change.said)
    return run, said


def test_a_stage_starts_with_a_path_and_without_triggers():
    run = configuration.start(RunConfig(env=("A=b",), onbuild=("RUN x",), user="me"))

    assert (run.env, run.onbuild, run.user) == (("A=b", configuration.PATH), (), "me")
    assert configuration.start(RunConfig(env=("PATH=/x",))).env == ("PATH=/x",)


def test_env_is_set_in_its_place_and_sees_what_stood_above_its_line():
    run, said = built('ENV A=1 B=2\nENV B=$A A="x y" C=$B', RunConfig(env=("PATH=/b",)))

    assert run.env == ("PATH=/b", "A=x y", "B=1", "C=2")
    assert said[1] == "ENV B=1 A=x y C=2"


def test_an_arg_is_seen_from_its_line_on_and_env_lies_over_it():
    run, _ = built(
        "LABEL a=${V:-none}\nARG V=arg\nLABEL b=$V\nENV V=env\nLABEL c=$V\nARG V=later\nLABEL d=$V"
    )

    assert run.labels == {"a": "none", "b": "arg", "c": "env", "d": "env"}


@pytest.mark.parametrize(
    ("line", "given", "outer", "value"),
    [
        ("ARG V=inner", {}, {}, "inner"),
        ("ARG V=inner", {"V": "given"}, {"V": "outer"}, "given"),
        ("ARG V", {}, {"V": "outer"}, "outer"),
        ("ARG V=inner", {}, {"V": "outer"}, "inner"),
        ("ARG V", {}, {}, None),
        ("ARG V", {"V": ""}, {"V": "outer"}, ""),
        ("ARG V=${W}x", {}, {}, "wx"),
    ],
)
def test_where_an_arg_has_its_value_from(line, given, outer, value):
    scope = Scope(given=given, outer=outer, args={"W": "w"})
    configuration.apply(RunConfig(), parse(line).instructions[0], scope, has_command=False)

    assert scope.args.get("V") == value


def test_a_run_counts_the_args_that_are_declared_and_not_hidden():
    scope = Scope(given={"A": "1", "B": "2", "HTTP_PROXY": "p", "http_proxy": "q"})
    scope.declare("A", None, {})
    scope.declare("http_proxy", None, {})

    assert scope.build_args({}) == {"A": "1", "http_proxy": "q"}
    assert scope.build_args({"A": "env"}) == {"http_proxy": "q"}
    assert scope.proxies({}) == {"HTTP_PROXY": "p"}
    assert scope.unused() == ["B"]


def test_an_entrypoint_takes_away_the_command_of_the_base_and_not_that_of_the_stage():
    base = RunConfig(command=("base",))

    assert built('ENTRYPOINT ["x"]', base)[0].command is None
    assert built('CMD ["mine"]\nENTRYPOINT ["x"]', base)[0].command == ("mine",)
    assert built('ENTRYPOINT ["x"]\nCMD ["mine"]', base)[0].command == ("mine",)
    assert built("ENTRYPOINT []", base)[0].entrypoint == ()


def test_the_shell_form_uses_the_shell_that_was_set():
    run, said = built('SHELL ["/bin/bash", "-ec"]\nCMD echo $x\nENTRYPOINT run it')

    assert run.command is not None
    assert run.command == ("/bin/bash", "-ec", "echo $x")
    assert run.entrypoint == ("/bin/bash", "-ec", "run it")
    assert said[1] == 'CMD ["/bin/bash" "-ec" "echo $x"]'


def test_directories_follow_one_another():
    assert (
        built("WORKDIR /a\nWORKDIR b/../c\nWORKDIR $X/d", args={"X": "e"})[0].working_directory == "/a/c/e/d"
    )
    assert built("WORKDIR x")[0].working_directory == "/x"
    assert built("WORKDIR /a/../../b//c/")[0].working_directory == "/b/c"


def test_ports_and_volumes_are_gathered():
    run, _ = built('EXPOSE 80 53/UDP 8000-8002\nEXPOSE $P\nVOLUME /a /b\nVOLUME ["/c d"]', args={"P": "1 2"})

    assert run.exposed_ports == ("1/tcp", "2/tcp", "53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp")
    assert run.volumes == ("/a", "/b", "/c d")


def test_a_healthcheck_is_kept_in_nanoseconds():
    run, _ = built(
        "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=2h --retries=3 CMD curl x || exit 1"
    )

    assert run.healthcheck == Healthcheck(
        test=("CMD-SHELL", "curl x || exit 1"), interval_ns=90 * 10**9, timeout_ns=15 * 10**8,
        start_period_ns=7200 * 10**9, retries=3,
    )  # fmt: skip
    assert built('HEALTHCHECK CMD ["a", "b"]')[0].healthcheck == Healthcheck(test=("CMD", "a", "b"))
    assert built("HEALTHCHECK NONE")[0].healthcheck == Healthcheck(test=("NONE",))


def test_triggers_wait_for_the_next_build():
    run, _ = built("ONBUILD RUN <<E\nbody\nE\nONBUILD COPY --chown=1 a b")

    assert run.onbuild == ("RUN <<E\nbody\nE", "COPY --chown=1 a b")
    assert parse(run.onbuild[0]).instructions[0].heredocs[0].text == "body\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("EXPOSE 80:80", "invalid containerPort: 80:80"),
        ("EXPOSE 70000", "invalid range"),
        ("EXPOSE 5-3", "invalid range"),
        ("EXPOSE 1/x", "invalid proto: x"),
        ("STOPSIGNAL WRONG", "Invalid signal: WRONG"),
        ("STOPSIGNAL 99", "Invalid signal: 99"),
        ("HEALTHCHECK --interval=1 CMD x", "invalid duration '1'"),
        ("HEALTHCHECK --interval=1us CMD x", "cannot be less than 1ms"),
        ("HEALTHCHECK --retries=x CMD x", "must be a number"),
        ("ENV $NOTHING=x", "ENV names can not be blank"),
        ("VOLUME $NOTHING", "can not be an empty string"),
    ],
)
def test_what_makes_no_sense_is_refused(line, message):
    with pytest.raises(LabkitError, match=message):
        built(line)


def test_a_mount_of_a_run_is_read():
    cache = options.run_mount("type=cache,target=/c,sharing=locked,mode=0700,uid=5")
    assert (cache.kind, cache.id, cache.sharing, cache.mode, cache.uid) == ("cache", "/c", "locked", 0o700, 5)
    assert options.run_mount("target=/t,from=x,src=a").read_only
    assert not options.run_mount("target=/t,rw").read_only
    assert options.run_mount("type=secret,id=key").target == "/run/secrets/key"
    assert options.run_mount("type=secret,id=key,env=KEY").target == ""
    assert options.run_mount('type=tmpfs,"target=/a,b",size=1m') == replace(
        options.run_mount("type=tmpfs,target=/t"), target="/a,b", id="/a,b", size_bytes=1 << 20
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=ssh", "is not supported"),
        ("type=what,target=/x", "unsupported mount type 'what'"),
        ("type=cache", "needs a target"),
        ("type=secret", "needs an id"),
        ("type=tmpfs,target=/x,from=y", "unexpected key 'from'"),
        ("type=cache,target=/x,sharing=all", "unsupported sharing value"),
        ("nonsense", "must be a key=value pair"),
        ("type=cache,target=/x,uid=me", "invalid value for uid"),
    ],
)
def test_a_mount_that_makes_no_sense_is_refused(text, message):
    with pytest.raises(LabkitError, match=message):
        options.run_mount(text)


def test_a_build_gets_no_privileges():
    options.security("sandbox")
    with pytest.raises(LabkitError, match="--security=insecure is not allowed"):
        options.security("insecure")
    assert options.mode("0755") == 0o755
    for wrong in ("u+x", "99", "77777", ""):
        with pytest.raises(LabkitError, match="invalid chmod parameter"):
            options.mode(wrong)
