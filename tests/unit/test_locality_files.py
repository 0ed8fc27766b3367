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


async def test_locate_gives_path_and_size(tmp_path):
    (tmp_path / "a b").write_text("four")
    (tmp_path / "directory").mkdir()
    provider = locality(str(tmp_path))
    asked = [f"file://{tmp_path}/a%20b", f"{tmp_path}/directory", f"{tmp_path}/gone", "s3://other"]
    assert await provider.locate(asked) == [
        [Replica(asked[0], f"{tmp_path}/a b", 4)],
        [Replica(asked[1], f"{tmp_path}/directory", 0)],
        [],
        [],
    ]


async def test_stage_names_what_is_missing(tmp_path):
    provider = locality(str(tmp_path))
    with pytest.raises(NotFound, match=f"input '{tmp_path}/gone': there is no {tmp_path}/gone"):
        await provider.stage(f"{tmp_path}/gone", [N1])
    (tmp_path / "file").write_text("")
    with pytest.raises(NotFound):
        await provider.stage(f"{tmp_path}/file/below", [N1])
    with pytest.raises(NotFound, match="is not below"):
        await provider.stage("/elsewhere", [N1])


async def test_a_shared_dataset_is_never_evicted(tmp_path):
    with pytest.raises(Refused, match="it is the original"):
        await locality("/").evict("/data", N1)


def test_prefixes_must_be_absolute():
    with pytest.raises(InvalidInput, match="expected absolute paths, not 'data'"):
        locality("data")


# -- what nodes had better have copies of ------------------------------------------------------------------------------


@pytest.fixture(name="slow")
def slow_file_system(tmp_path):
    """A directory that everybody may walk to."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory).resolve()


def version_of(path: Path) -> str:
    return file_version(path.stat().st_size, path.stat().st_mtime_ns)


async def measured(slow: Path, *addresses: object) -> list[object]:
    provider = FileLocality.from_options({"cached_prefixes": [str(slow)]})
    return list(await provider.measure([str(each) for each in addresses]))


async def test_a_file_of_a_slow_file_system_is_measured_where_it_really_is(slow):
    path = slow / "reads"
    path.write_bytes(b"12345")
    path.chmod(0o644)
    (slow / "link").symlink_to(path)
    for address in (path, slow / "link", f"file://{path}"):
        (found,) = await measured(slow, address)
        assert found == Measured(5, version_of(path), place=str(path))
    before = version_of(path)
    os.utime(path, ns=(1, 1))
    assert before != version_of(path)


async def test_what_is_not_for_all_and_what_is_elsewhere_stays_where_it_is(slow, tmp_path):
    for name in ("private", "hidden/below", "open"):
        (slow / name).parent.mkdir(exist_ok=True)
        (slow / name).write_bytes(b"12345")
        (slow / name).chmod(0o600 if name == "private" else 0o644)
    (slow / "hidden").chmod(0o700)
    (tmp_path / "elsewhere").write_bytes(b"12345")
    (slow / "leads-out").symlink_to(tmp_path / "elsewhere")
    places = ("private", "hidden/below", "hidden", "leads-out")
    assert await measured(slow, *(slow / each for each in places), tmp_path / "elsewhere") == [None] * 5
    (absent,) = await measured(slow, slow / "absent")
    assert isinstance(absent, NotFound)
    plain = FileLocality.from_options({})
    assert await plain.measure([str(slow / "open")]) == [None]


async def test_no_link_asks_what_only_the_daemon_may_see(slow, tmp_path):
    """Whatever is there behind a link, a directory that is not for all or another tree, the answer is the same."""
    (slow / "open").write_bytes(b"12345")
    (slow / "open").chmod(0o644)
    (slow / "hidden").mkdir()
    for place in (slow / "hidden", tmp_path):
        (place / "file").write_bytes(b"1")
        (place / "directory").mkdir()
        (place / "link").symlink_to("directory")
    (slow / "hidden").chmod(0o700)
    places = ("file", "directory", "link", "absent", "file/below", "absent/below", "directory/absent", "link/..")
    ways = [f"{place}/{each}" for place in (slow / "hidden", tmp_path) for each in places]
    for number, way in enumerate([*ways, *(f"{way}/{slow}/open" for way in ways)]):
        (slow / f"to-{number}").symlink_to(way)
    for number, way in enumerate(ways):
        back = "../" * way.count("/")
        (slow / f"back-{number}").symlink_to(f"{way}/{back}{slow}/open")
    addresses = [each for each in sorted(slow.iterdir()) if each.name.startswith(("to-", "back-"))]
    asked = [*addresses, *(slow / "hidden" / each for each in places)]
    assert await measured(slow, *asked) == [None] * len(asked)


async def test_links_within_a_slow_file_system_are_followed_and_rings_of_them_are_not(slow):
    (slow / "a/b").mkdir(parents=True)
    for each in (slow / "a", slow / "a/b"):
        each.chmod(0o755)
    (slow / "a/reads").write_bytes(b"12345")
    (slow / "a/reads").chmod(0o644)
    (slow / "to-b").symlink_to("a/b")
    (slow / "up").symlink_to("to-b/../reads")
    (slow / "ring").symlink_to("ring")
    (slow / "gone").symlink_to("a/gone")
    found = await measured(slow, slow / "up", slow / "ring", slow / "a", slow / "gone", slow / "a/reads/below")
    assert found[:3] == [Measured(5, version_of(slow / "a/reads"), place=f"{slow}/a/reads"), None, None]
    assert isinstance(found[3], NotFound)
    assert found[4] is None
