"""File locality: what it recognises, what it finds, and what it refuses."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hal_core import InvalidInput, Measured, NodeName, NotFound, Refused, Replica, file_version
from hal_locality_files.provider import FileLocality

N1 = NodeName("n1")


@pytest.fixture(name="shared")
def directory_for_all():
    """A directory that everybody may walk to."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory).resolve()


def locality(*prefixes):
    return FileLocality.from_options({"shared_prefixes": list(prefixes)})


@pytest.mark.parametrize(
    ("dataset", "is_ours"),
    [
        ("/shared/a", True),
        ("/shared", True),
        ("/shared/", True),
        ("//shared/a", True),
        ("/shared/../etc/shadow", False),
        ("/sharedX/a", False),
        ("shared/a", False),
        ("file:/shared/a", True),
        ("file:///shared/a%20b", True),
        ("file:///shared/%2e%2e/etc/shadow", False),
        ("file://server/shared/a", False),
        ("file:///shared/a?x=1", False),
        ("/shared/a\0b", False),
        ("s3://shared/a", False),
        ("", False),
    ],
)
def test_recognises_only_what_is_below_a_prefix(dataset, is_ours):
    assert locality("/shared").recognises(dataset) is is_ours


@given(st.lists(st.sampled_from(["..", ".", "", "a", "shared", "%2e%2e"]), max_size=8), st.booleans())
def test_no_spelling_leads_out_of_a_prefix(parts, is_url):
    provider = locality("/shared")
    path = provider._path_of(("file:" if is_url else "") + "/" + "/".join(parts))
    assert path is None or path == "/shared" or path.startswith("/shared/")
    assert path is None or ".." not in path.split("/")


async def test_locate_gives_path_and_size(shared):
    (shared / "a b").write_text("four")
    (shared / "directory").mkdir()
    provider = locality(str(shared))
    asked = [f"file://{shared}/a%20b", f"{shared}/directory", f"{shared}/gone", "s3://other"]
    assert await provider.locate(asked) == [
        [Replica(asked[0], f"{shared}/a b", 4)],
        [Replica(asked[1], f"{shared}/directory", 0)],
        [],
        [],
    ]


async def test_stage_names_what_is_missing(shared):
    provider = locality(str(shared))
    with pytest.raises(NotFound, match=f"input '{shared}/gone': there is no {shared}/gone"):
        await provider.stage(f"{shared}/gone", [N1])
    (shared / "file").write_text("")
    with pytest.raises(NotFound):
        await provider.stage(f"{shared}/file/below", [N1])
    with pytest.raises(NotFound, match="is not below"):
        await provider.stage("/elsewhere", [N1])


async def test_nothing_is_said_of_what_only_the_daemon_may_see(shared, tmp_path):
    """Behind a directory that is not for all, and behind a link that leads elsewhere, all is alike: there or not."""
    hidden = shared / "hidden"
    for place in (hidden, tmp_path):
        (place / "directory").mkdir(parents=True)
        (place / "file").write_text("secret")
        (place / "link").symlink_to("directory")
    hidden.chmod(0o700)
    (shared / "out").symlink_to(tmp_path)
    provider = locality(str(shared))
    names = ("file", "directory", "link", "absent", "file/below", "absent/below", "directory/absent", "link/absent")
    asked = [f"{place}/{name}" for place in (hidden, shared / "out") for name in names]
    assert [await provider.stage(each, [N1]) for each in asked] == [0] * len(asked)
    assert await provider.locate(asked) == [[]] * len(asked)
    assert await provider.stage(str(hidden), [N1]) == 0
    assert await provider.locate([str(hidden)]) == [[Replica(str(hidden), str(hidden), 0)]]


async def test_a_shared_dataset_is_never_evicted(tmp_path):
    with pytest.raises(Refused, match="it is the original"):
        await locality("/").evict("/data", N1)


def test_prefixes_must_be_absolute():
    with pytest.raises(InvalidInput, match="expected absolute paths, not 'data'"):
        locality("data")


# -- what nodes had better have copies of ------------------------------------------------------------------------------


def version_of(path: Path) -> str:
    return file_version(path.stat().st_size, path.stat().st_mtime_ns)


async def measured(shared: Path, *addresses: object) -> list[object]:
    provider = FileLocality.from_options({"cached_prefixes": [str(shared)]})
    return list(await provider.measure([str(each) for each in addresses]))


async def test_a_file_of_a_slow_file_system_is_measured_where_it_really_is(shared):
    path = shared / "reads"
    path.write_bytes(b"12345")
    path.chmod(0o644)
    (shared / "link").symlink_to(path)
    for address in (path, shared / "link", f"file://{path}"):
        (found,) = await measured(shared, address)
        assert found == Measured(5, version_of(path), place=str(path))
    before = version_of(path)
    os.utime(path, ns=(1, 1))
    assert before != version_of(path)


async def test_what_is_not_for_all_and_what_is_elsewhere_stays_where_it_is(shared, tmp_path):
    for name in ("private", "hidden/below", "open"):
        (shared / name).parent.mkdir(exist_ok=True)
        (shared / name).write_bytes(b"12345")
        (shared / name).chmod(0o600 if name == "private" else 0o644)
    (shared / "hidden").chmod(0o700)
    (tmp_path / "elsewhere").write_bytes(b"12345")
    (shared / "leads-out").symlink_to(tmp_path / "elsewhere")
    places = ("private", "hidden/below", "hidden", "leads-out")
    assert await measured(shared, *(shared / each for each in places), tmp_path / "elsewhere") == [None] * 5
    (absent,) = await measured(shared, shared / "absent")
    assert isinstance(absent, NotFound)
    plain = FileLocality.from_options({})
    assert await plain.measure([str(shared / "open")]) == [None]


async def test_no_link_asks_what_only_the_daemon_may_see(shared, tmp_path):
    """Whatever is there behind a link, a directory that is not for all or another tree, the answer is the same."""
    (shared / "open").write_bytes(b"12345")
    (shared / "open").chmod(0o644)
    (shared / "hidden").mkdir()
    for place in (shared / "hidden", tmp_path):
        (place / "file").write_bytes(b"1")
        (place / "directory").mkdir()
        (place / "link").symlink_to("directory")
    (shared / "hidden").chmod(0o700)
    places = ("file", "directory", "link", "absent", "file/below", "absent/below", "directory/absent", "link/..")
    ways = [f"{place}/{each}" for place in (shared / "hidden", tmp_path) for each in places]
    for number, way in enumerate([*ways, *(f"{way}/{shared}/open" for way in ways)]):
        (shared / f"to-{number}").symlink_to(way)
    for number, way in enumerate(ways):
        back = "../" * way.count("/")
        (shared / f"back-{number}").symlink_to(f"{way}/{back}{shared}/open")
    addresses = [each for each in sorted(shared.iterdir()) if each.name.startswith(("to-", "back-"))]
    asked = [*addresses, *(shared / "hidden" / each for each in places)]
    assert await measured(shared, *asked) == [None] * len(asked)


async def test_links_within_a_slow_file_system_are_followed_and_rings_of_them_are_not(shared):
    (shared / "a/b").mkdir(parents=True)
    for each in (shared / "a", shared / "a/b"):
        each.chmod(0o755)
    (shared / "a/reads").write_bytes(b"12345")
    (shared / "a/reads").chmod(0o644)
    (shared / "to-b").symlink_to("a/b")
    (shared / "up").symlink_to("to-b/../reads")
    (shared / "ring").symlink_to("ring")
    (shared / "gone").symlink_to("a/gone")
    found = await measured(
        shared, shared / "up", shared / "ring", shared / "a", shared / "gone", shared / "a/reads/below"
    )
    assert found[:3] == [Measured(5, version_of(shared / "a/reads"), place=f"{shared}/a/reads"), None, None]
    assert isinstance(found[3], NotFound)
    assert found[4] is None
