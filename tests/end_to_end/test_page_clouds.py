"""Cloud pools on the web page, in a real Chromium: what they spend, whose money it is, and how to end that."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hal_core.models.job import Owner
from hal_core.rest.tokens import KEY_NAME, TokenMaker
from tests.support.chromium import Chromium, why_no_chromium
from tests.support.needs import need
from tests.support.page_rented import PageRented

TIMEOUT_S = 60.0


@pytest.fixture
def hal() -> Iterator[PageRented]:
    need(why_no_chromium())
    with PageRented(node_count=1, cpus=1) as running:
        yield running


def test_a_pool_is_seen_stopped_resumed_and_given_back(hal: PageRented, tmp_path: Path) -> None:
    own = hal.submit("/bin/sleep", "1000", options=[("time", "20"), ("account", "chemistry")])
    rented = hal.submit("/bin/sleep", "1000", options=[("time", "20"), ("account", "physics"), ("cpus-per-task", "2")])
    hal.tree.until("both run", lambda: hal.counts().get("RUNNING") == 2, TIMEOUT_S, hal.watched)
    with Chromium(tmp_path) as browser:
        tab = browser.open(hal.link())
        tab.until("document.querySelector('.tile')")
        tab.click("nav a[data-view=clouds]")
        tab.until("document.querySelector('.accounts')")
        cells = "[...row.cells].map((each) => each.innerText)"
        (physics, chemistry) = tab.run(f"[...document.querySelectorAll('.accounts tbody tr')].map((row) => {cells})")
        assert (physics[0], physics[5:], chemistry[0], chemistry[2:]) == (
            *("physics", ["200.00", "1 d"], "chemistry"),
            ["0.00", "0.00", "20.00", "20.00", "for ever"],
        )
        spent, owed, left = map(float, physics[2:5])
        assert owed > 0
        assert spent + owed + left == pytest.approx(200.0, abs=0.02)
        label = tab.run("document.querySelector('.accounts [role=img]').getAttribute('aria-label')")
        assert label == f"physics: {physics[2]} spent and {physics[3]} owed of 200.00; {physics[4]} left"

        tab.click("button[data-action=stop]")
        tab.until("document.querySelector('#ask').open")
        tab.press("Escape")
        assert not hal.pool()["is_stopped"], "it was asked first, and nothing said"
        tab.click("button[data-action=stop]")
        tab.click("#ask-yes")
        tab.until("document.querySelector('button[data-action=resume]')")
        assert "stopped by root" in tab.text()
        assert hal.pool()["is_stopped"]
        assert hal.get(f"/v1/jobs/{rented}")["state"] == "RUNNING", "what runs goes on"
        tab.click("button[data-action=resume]")
        tab.click("#ask-yes")
        tab.until("document.querySelector('button[data-action=stop]')")
        assert not hal.pool()["is_stopped"]
        tab.click("button[data-action=release]")
        tab.until("document.querySelector('#ask-title').textContent.includes('What runs there ends')")
        tab.click("#ask-yes")
        hal.tree.until("all is given back", lambda: hal.pool()["count"] == 0, TIMEOUT_S, hal.watched)
        tab.until("document.querySelector('main').innerText.includes('0 of at most 2 nodes')")
        tab.until("!document.querySelector('button[data-action=release]')")
        assert hal.get(f"/v1/jobs/{own}")["state"] == "RUNNING", "the site's own node is none of the pool's"
        tab.screenshot(tmp_path / "clouds.png")
        assert tab.complaints == []


def test_who_is_no_administrator_has_no_buttons(hal: PageRented, tmp_path: Path) -> None:
    maker = TokenMaker((hal.state / KEY_NAME).read_bytes(), "test", 600.0, secrets.token_bytes)
    made = maker.issue(Owner("nobody", 65534, 65534), 600.0, time.time())
    with Chromium(tmp_path) as browser:
        tab = browser.open(f"{hal.url}/#token={made.token}")
        tab.until("document.querySelector('.tile')")
        tab.click("nav a[data-view=clouds]")
        tab.until("document.querySelector('.accounts')")
        assert tab.run("document.querySelectorAll('main button').length") == 0
        assert tab.complaints == []
