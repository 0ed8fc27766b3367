"""Reports over REST: those of the one folder, for administrators, and nothing that lies elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from hal_core.errors import NotFound, Refused
from hal_core.rest.port import ConfigurationView
from hal_core.rest.reports import BYTES_MAX, read_report, reports_in
from tests.support.rest_api import ADA, ADMINISTRATOR, OPERATOR, serving_api

PAGE = "<!doctype html><h1>What would another policy have done?</h1>"


def at(directory: Path | str) -> dict[str, Any]:
    """What differs for a site with that folder."""
    return {"section": {"listen": {"reports": str(directory)}}.__getitem__, "configuration": unread}


def unread() -> ConfigurationView:
    raise AssertionError("the whole configuration was read, with all its nodes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "reports"
    folder.mkdir()
    for number, name in enumerate(("may.html", "june.html")):
        (folder / name).write_text(PAGE)
        os.utime(folder / name, (number, number))
    (tmp_path / "secret.html").write_text("secret")
    (folder / "link.html").symlink_to(tmp_path / "secret.html")
    (folder / "folder.html").mkdir()
    os.mkfifo(folder / "pipe.html")
    (folder / "notes.txt").write_text("secret")
    (folder / ".hidden.html").write_text("secret")
    return folder


async def test_they_are_listed_and_shown_to_administrators_only(tmp_path: Path, folder: Path) -> None:
    async with serving_api(tmp_path / "s", **at(folder)) as api:
        told = (await api.get("/v1/reports", ADMINISTRATOR)).json()
        assert told["directory"] == str(folder)
        assert [(each["name"], each["time_s"]) for each in told["reports"]] == [("june.html", 1.0), ("may.html", 0.0)]
        shown = await api.get("/v1/reports/may.html", ADMINISTRATOR)
        assert shown.json() == {"name": "may.html", "html": PAGE}
        assert shown.headers["content-type"] == "application/json", "no browser takes it for a page"
        for target in ("/v1/reports", "/v1/reports/may.html", "/v1/reports/gone.html"):
            for uid in (ADA, OPERATOR):
                assert (await api.get(target, uid)).status == 403
        for target in ("/v1/reports/gone.html", "/v1/reports/link.html", "/v1/reports/..", "/v1/reports/a/may.html"):
            assert (await api.get(target, ADMINISTRATOR)).status == 404, target


async def test_a_site_that_names_no_folder_or_one_that_is_gone_is_told(tmp_path: Path) -> None:
    async with serving_api(tmp_path / "s", **at("")) as api:
        assert (await api.get("/v1/reports", ADMINISTRATOR)).json() == {"directory": "", "reports": []}
        assert "listen.reports" in (await api.get("/v1/reports/may.html", ADMINISTRATOR)).json()["error"]["text"]
    async with serving_api(tmp_path / "s2", **at(tmp_path / "gone")) as api:
        told = await api.get("/v1/reports", ADMINISTRATOR)
        assert (told.status, told.kind) == (409, "refused")
        assert (
            f"{tmp_path}/gone cannot be read: No such file or directory; see listen.reports"
            in told.json()["error"]["text"]
        )


@given(st.text() | st.from_regex(r"[./a-z]{0,20}secret\.html", fullmatch=True))
@example("../secret.html")
@example("/etc/passwd")
@example("may.html\0")
@example("folder.html/../../secret.html")
def test_no_name_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    above = tmp_path_factory.getbasetemp() / "above"
    (above / "reports").mkdir(parents=True, exist_ok=True)
    (above / "secret.html").write_text("secret")
    with pytest.raises(NotFound):
        read_report(str(above / "reports"), name)


@pytest.mark.parametrize("name", ["link.html", "folder.html", "pipe.html", "notes.txt", ".hidden.html", "gone.html"])
def test_only_plain_files_of_the_folder_are_read(folder: Path, name: str) -> None:
    assert [each.name for each in reports_in(str(folder))] == ["june.html", "may.html"]
    with pytest.raises(NotFound):
        read_report(str(folder), name)


def test_what_is_too_large_or_no_text_is_refused(folder: Path) -> None:
    with open(folder / "large.html", "wb") as file:
        file.truncate(BYTES_MAX + 1)
    with pytest.raises(Refused, match=r"larger than 16 MiB; open it .* where it lies"):
        read_report(str(folder), "large.html")
    (folder / "latin.html").write_bytes(b"\xff")
    with pytest.raises(Refused, match="UTF-8"):
        read_report(str(folder), "latin.html")
