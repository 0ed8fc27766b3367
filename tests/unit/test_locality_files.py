"""File locality: what it recognises, what it finds, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hal_core import InvalidInput, NodeName, NotFound, Refused, Replica
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
