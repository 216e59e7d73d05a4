import pytest

from labkit.engine import mount_syntax
from labkit.engine.mount import Mount, tmpfs_options
from labkit.errors import Invalid, Unsupported


@pytest.mark.parametrize(
    ("text", "kind", "source", "target", "read_only"),
    [
        ("/data", "volume", "", "/data", False),
        ("cache:/var/cache", "volume", "cache", "/var/cache", False),
        ("cache:/var/cache:ro", "volume", "cache", "/var/cache", True),
        ("/srv:/srv:rw", "bind", "/srv", "/srv", False),
        ("/a//b/../c:/x//y/", "bind", "/a/c", "/x/y", False),
        ("/srv:/srv:ro,rslave,z,cached", "bind", "/srv", "/srv", True),
    ],
)
def test_dash_v_is_read_as_docker_reads_it(text, kind, source, target, read_only):
    mount = mount_syntax.volume(text)

    assert (mount.kind, mount.source, mount.target, mount.read_only) == (kind, source, target, read_only)
    assert mount.make_source == (kind == "bind")


def test_a_relative_source_is_a_path_below_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert mount_syntax.volume("./site:/srv").source == str(tmp_path / "site")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a1:/d:ro:rw", "invalid spec: a1:/d:ro:rw: too many colons"),
        (":/d", "invalid spec: :/d: empty section between colons"),
        ("/tmp:/d:weird", "invalid mode: weird"),
        ("/tmp:/d:ro,rw", "invalid mode: ro,rw"),
        ("data:ro", "invalid volume specification: 'data:ro'"),
        (
            "/tmp:d",
            "invalid volume specification: '/tmp:d': invalid mount config for type \"bind\": "
            "invalid mount path: 'd' mount path must be absolute",
        ),
        (
            "/tmp:/",
            "invalid volume specification: '/tmp:/': invalid mount config for type \"bind\": "
            "invalid specification: destination can't be '/'",
        ),
        (
            "/tmp:/d:nocopy",
            "invalid volume specification: '/tmp:/d:nocopy': invalid mount config for type \"bind\": "
            "field VolumeOptions must not be specified",
        ),
        (
            "data:/d:rshared",
            "invalid volume specification: 'data:/d:rshared': invalid mount config for type \"volume\": "
            "field BindOptions must not be specified",
        ),
    ],
)
def test_dash_v_is_refused_in_dockers_words(text, words):
    with pytest.raises(Invalid) as refused:
        mount_syntax.volume(text)

    assert str(refused.value) == words


def test_mount_takes_all_of_its_keys():
    bind = mount_syntax.mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rshared,bind-nonrecursive")
    volume = mount_syntax.mount(
        'Source=data,target=/v,volume-nocopy=true,volume-label=a=b,"volume-label=c=d,e",volume-driver=local'
    )
    tmpfs = mount_syntax.mount("type=tmpfs,destination=/t,tmpfs-size=1.5m,tmpfs-mode=0770,readonly=false")

    assert bind == Mount(
        kind="bind", source="/a", target="/b", read_only=True, propagation="rshared", recursive=False
    )
    assert volume == Mount(
        kind="volume", source="data", target="/v", copy=False, labels={"a": "b", "c": "d,e"}
    )
    assert tmpfs.options == ("noexec", "nosuid", "nodev", "size=1572864", "mode=770")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type=bind,source=/tmp,foo=bar,target=/d", "unexpected key 'foo' in 'foo=bar'"),
        ("type=bind,source=/tmp", "target is required"),
        ("readonly", "target is required"),
        ("foo", "invalid field 'foo' must be a key=value pair"),
        ("type=tmpfs,target=/d,tmpfs-size=abc", "invalid value for tmpfs-size: abc"),
        ("type=tmpfs,target=/d,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("type=bind,source=/tmp,target=/d,readonly=maybe", "invalid value for readonly: maybe"),
        (
            "type=bind,source=/tmp,target=/d,volume-nocopy",
            "cannot mix 'volume-*' options with mount type 'bind'",
        ),
        ("target=/d,tmpfs-size=1m", "cannot mix 'tmpfs-*' options with mount type 'volume'"),
        (
            "type=tmpfs,target=/d,bind-propagation=shared",
            "cannot mix 'bind-*' options with mount type 'tmpfs'",
        ),
    ],
)
def test_mount_is_refused_by_the_words_of_dockers_command(text, words):
    with pytest.raises(Invalid) as refused:
        mount_syntax.mount(text)

    assert str(refused.value) == f'invalid argument "{text}" for "--mount" flag: {words}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type=bind,source=/t,target=d", "invalid mount path: 'd' mount path must be absolute"),
        ("type=bind,target=/d", "field Source must not be empty"),
        ("type=bind,source=tmp,target=/d", "invalid mount path: 'tmp' mount path must be absolute"),
        ("type=what,source=/tmp,target=/d", "mount type unknown"),
        ("type=tmpfs,source=/tmp,target=/d", "field Source must not be specified"),
        ("type=bind,source=/t,target=/d,bind-propagation=odd", "invalid propagation mode: odd"),
        ("type=bind,source=/t,target=/../", "invalid specification: destination can't be '/'"),
    ],
)
def test_a_mount_that_cannot_be_is_refused_in_the_words_of_dockers_daemon(text, words):
    kind = text.split(",")[0].removeprefix("type=")
    with pytest.raises(Invalid) as refused:
        mount_syntax.mount(text)

    assert str(refused.value) == f'invalid mount config for type "{kind}": {words}'


@pytest.mark.parametrize("key", ["volume-opt=type=nfs", "volume-subpath=x", "volume-driver=rexray"])
def test_what_labkit_does_not_have_is_refused_and_not_passed_over(key):
    with pytest.raises(Unsupported, match=r"volume-opt|volume-subpath|rexray"):
        mount_syntax.mount(f"target=/d,{key}")


def test_options_of_a_tmpfs_are_dockers_with_the_last_word_on_each_matter():
    assert tmpfs_options(()) == ("noexec", "nosuid", "nodev")
    assert tmpfs_options(("exec", "size=64k", "size=1m", "uid=5")) == ("nosuid", "nodev", "size=1m", "uid=5")
    assert tmpfs_options(("exec", "noexec", "ro"))[-2:] == ("noexec", "ro")


@pytest.mark.parametrize("option", ["foo", "size=", "size=big", "mode=9", "lowerdir=/etc", "size=1,uid=0"])
def test_an_unknown_option_of_a_tmpfs_is_named(option):
    with pytest.raises(Invalid, match="invalid tmpfs option") as refused:
        tmpfs_options((option,))

    assert option in str(refused.value)


def test_volumes_from_names_a_container_and_how():
    assert mount_syntax.volumes_from("web") == ("web", False)
    assert mount_syntax.volumes_from("web:ro") == ("web", True)
    with pytest.raises(Invalid, match="invalid mode: odd"):
        mount_syntax.volumes_from("web:odd")


def test_a_mount_becomes_an_entry_of_config_json():
    assert Mount.bind("/a", "/b", read_only=True).oci().options == ("rbind", "rro", "rnodev", "rprivate")
    assert mount_syntax.mount("type=bind,src=/a,dst=/b,ro,bind-recursive=writable").oci().options == (
        "rbind", "ro", "rnodev", "rprivate",
    )  # fmt: skip
    assert Mount.tmpfs("/t", size_bytes=4096, mode=0o700, read_only=True).oci().options == (
        "noexec", "nosuid", "nodev", "size=4096", "mode=700", "ro",
    )  # fmt: skip
