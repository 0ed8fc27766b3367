"""The web page in a real Chromium: what it shows, what can be done with it, and that its console stays empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import Chromium, Tab, why_no_chromium
from tests.support.http_plain import status_of
from tests.support.needs import need
from tests.support.page_services import PageServices


@pytest.fixture(scope="module")
def hal() -> Iterator[PageServices]:
    need(why_no_chromium())
    with PageServices(node_count=2, cpus=4, more_of_partition="    money_per_cpu_hour: 3600") as running:
        yield running


@pytest.fixture(scope="module")
def browser(hal: PageServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def tab(hal: PageServices, browser: Chromium) -> Iterator[Tab]:
    opened = browser.open(hal.link())
    opened.until("document.querySelector('.tile')")
    yield opened
    assert opened.complaints == []


def go(tab: Tab, hal: PageServices, where: str, until: str) -> None:
    tab.run(f"void (location.hash = {json.dumps(where)})")
    tab.until(f"document.querySelector('main')?.innerText.includes({json.dumps(until)})")


def test_the_overview_shows_the_cluster(hal: PageServices, tab: Tab) -> None:
    assert "2 of 2" in tab.text()
    assert "nodes up" in tab.text()
    assert tab.run("location.hash") == "#/", "the token is gone from the address"
    assert tab.run("document.getElementById('caller').textContent") == "root (administrator)"
    painted = tab.run("document.querySelector('canvas').getContext('2d').getImageData(5, 5, 1, 1).data[3]")
    assert painted == 255


def test_a_job_can_be_watched_held_released_and_cancelled(hal: PageServices, tab: Tab) -> None:
    runs = hal.submit("/bin/sleep", "1000", options=[("job-name", "long-one")])
    waits = hal.submit("/bin/sleep", "1000", options=[("cpus-per-task", "4"), ("nodes", "2")])
    tab.click("nav a[data-view=queue]")
    tab.until("document.querySelectorAll('.list .row').length >= 3")
    assert "long-one" in tab.text()
    assert "enough resources" in tab.text()
    go(tab, hal, f"#/job/{waits}", "Why it waits")
    tab.click("button[data-action=hold]")
    tab.click("#ask-yes")
    tab.until("document.querySelector('button[data-action=release]')")
    assert hal.get(f"/v1/jobs/{waits}")["is_held"]
    tab.click("button[data-action=release]")
    tab.click("#ask-yes")
    tab.until("document.querySelector('button[data-action=hold]')")
    assert "being held" in tab.text()
    for job_id in (waits, runs):
        go(tab, hal, f"#/job/{job_id}", f"Job {job_id}")
        tab.click("button[data-action=cancel]")
        tab.click("#ask-yes")
        hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")
    tab.until("document.querySelector('.state.CANCELLED')")
    assert "core-hours" in tab.text()
    tab.click("button[data-action=look-back]")
    tab.until("document.querySelector('main').innerText.includes('Room for that since')")
    tab.until("!document.querySelector('button[data-action=look-back]')")
    tab.click("button[data-action=requeue]")
    tab.click("#ask-yes")
    tab.until("document.querySelector('.state.RUNNING')")
    tab.click("button[data-action=cancel]")
    tab.click("#ask-yes")
    tab.until("document.querySelector('.state.CANCELLED')")
    go(tab, hal, "#/past", "long-one")
    go(tab, hal, "#/usage", "root")


def test_a_node_can_be_drained_and_resumed_from_the_list(hal: PageServices, tab: Tab) -> None:
    go(tab, hal, "#/nodes", "n2")
    tab.run("document.querySelector('.list').focus()")
    tab.press("ArrowDown", "Enter")
    tab.until("document.querySelector('h1').textContent === 'Node n2'")
    tab.click("button[data-action=drain]")
    tab.until("document.querySelector('#ask').open")
    tab.run("document.querySelector('#ask input').focus()")
    tab.type("a fan is loud")
    tab.press("Enter")
    tab.until("document.querySelector('button[data-action=resume]')")
    assert hal.get("/v1/nodes/n2")["reason"] == "a fan is loud"
    tab.click("button[data-action=resume]")
    tab.click("#ask-yes")
    tab.until("document.querySelector('button[data-action=drain]')")
    assert not hal.get("/v1/nodes/n2")["is_drained"]


def test_the_map_can_be_walked_with_the_keyboard(hal: PageServices, tab: Tab) -> None:
    tab.run("document.querySelector('canvas').focus()")
    assert "n1" in tab.run("document.querySelector('output').textContent")
    tab.press("ArrowRight")
    assert "n2: up, 0 of 4 CPUs in use" in tab.run("document.querySelector('output').textContent")
    tab.press("Enter")
    tab.until("document.querySelector('h1').textContent === 'Node n2'")


def test_what_happens_is_seen_without_being_asked_for(hal: PageServices, tab: Tab) -> None:
    job_id = hal.submit("/bin/sleep", "1000")
    tab.until("document.querySelector('.tile b').textContent === '1'")
    hal.post(f"/v1/jobs/{job_id}/cancel", {})
    tab.until("document.querySelector('.tile b').textContent === '0'")


def test_without_a_token_it_asks_for_one(hal: PageServices, browser: Chromium) -> None:
    tab = browser.open(hal.url)
    tab.until("document.querySelector('#sign-in').open")
    tab.type(hal.link().partition("#token=")[2])
    tab.press("Enter")
    tab.until("document.querySelector('.tile')")
    tab.run("document.getElementById('theme').click()")
    assert tab.run("document.documentElement.dataset.theme") == "dark"
    assert tab.complaints == []


def test_sessions_data_and_clouds_say_what_there_is_and_what_not(hal: PageServices, tab: Tab) -> None:
    go(tab, hal, "#/clouds", "No pool rents nodes")
    go(tab, hal, "#/data", "No node has a copy")
    go(tab, hal, "#/sessions", "No session reports")
    counts = dict.fromkeys(("worker", "running", "failed", "dropped"), 2) | {"waiting": 600, "done": 1400}
    figures = {f"{name}_count": count for name, count in counts.items()} | {"rate_per_s": 301.0}
    hal.post("/v1/sessions/5f2c09ab41de", figures)
    tab.until("document.querySelector('main').innerText.includes('5f2c09ab41de')")
    assert "tasks a second" in tab.text()
    label = tab.run("document.querySelector('td [role=img]').getAttribute('aria-label')")
    assert label == "1,400 done, 2 failed, 2 running, 600 waiting"


def test_a_list_shows_what_is_in_sight_however_it_is_scrolled(hal: PageServices, tab: Tab) -> None:
    first = hal.submit("/bin/true", options=[("hold", "")])
    hal.submit_bulk([["/bin/true"]] * 299, options=[("hold", "")])
    go(tab, hal, "#/queue", "held by")
    seen = """(() => { const list = document.querySelector('.list'), box = list.getBoundingClientRect();
        return [...list.querySelectorAll('.row[id]')].filter((row) => { const at = row.getBoundingClientRect();
            return at.bottom > box.top + 40 && at.top < box.bottom; }).map((row) => Number(row.firstChild.textContent))
            .sort((one, other) => one - other); })()"""
    for top in (0, 5000, 90, 7000, 3333):
        tab.run(f"void (document.querySelector('.list').scrollTop = {top})")
        tab.until(f"Math.abs(({seen})[0] - {first} - {top} / 36) < 2")
        numbers = tab.run(seen)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert tab.run("document.querySelectorAll('.list .row').length") < 100
    tab.until("document.querySelector('.list').getAttribute('aria-rowcount') !== '-1'")
    tab.run("document.querySelector('.list').focus()")
    tab.press("End", "Enter")
    tab.until(f"document.querySelector('h1').textContent.startsWith('Job {first + 299}')")


REPORT = """<!doctype html><html><head><title>May</title><style>h1{color:rgb(1, 2, 3)}</style></head><body>
<h1>What would another policy have done?</h1><p>quiet</p>
<script>document.querySelector("p").textContent = "ran"</script>
<img src="x" onerror="document.querySelector('p').textContent = 'ran'" alt=""></body></html>"""


def test_a_report_is_shown_and_can_reach_nothing(hal: PageServices, browser: Chromium, tab: Tab) -> None:
    go(tab, hal, "#/reports", "hal replay --report")
    (hal.reports / "may.html").write_text(REPORT)
    tab.click("nav a[data-view=queue]")
    tab.until("document.querySelector('h1').textContent === 'Queue'")
    tab.click("nav a[data-view=reports]")
    tab.click("main a[href$='may.html']")
    tab.until("document.querySelector('iframe')")
    frame = browser.frame_of(tab)
    frame.until("document.querySelector('h1').textContent.includes('another policy')")
    assert frame.run("getComputedStyle(document.querySelector('h1')).color") == "rgb(1, 2, 3)"
    assert frame.run("origin") == "null"
    assert frame.run("(() => { try { return parent.sessionStorage; } catch (error) { return error.name; } })()") == (
        "SecurityError"
    )
    assert frame.run("fetch('/v1/status').then(() => 'answered', () => 'refused')") == "refused"
    assert frame.run("document.querySelector('p').textContent") == "quiet", "a script of the report did not run"


def test_names_stay_names(hal: PageServices, tab: Tab) -> None:
    evil = "<img src=x onerror=alert(1)>"
    job_id = hal.submit("/bin/true", options=[("job-name", evil)])
    hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")
    go(tab, hal, f"#/job/{job_id}", evil)
    assert tab.run("document.querySelectorAll('main img').length") == 0


def test_every_control_has_a_name(tab: Tab) -> None:
    nameless = """[...document.querySelectorAll('button, a, input, select, canvas, [role=grid]')]
        .filter((each) => !(each.textContent.trim() || each.getAttribute('aria-label') || each.labels?.length))
        .map((each) => each.outerHTML)"""
    for where in ("#/", "#/queue", "#/nodes", "#/sessions", "#/data", "#/clouds", "#/past", "#/usage", "#/reports"):
        tab.run(f"void (location.hash = {json.dumps(where)})")
        tab.until("document.querySelector('main h1')")
        assert tab.run(nameless) == []


def test_the_page_fits_a_phone(hal: PageServices, browser: Chromium) -> None:
    tab = browser.open(hal.link(), width=390, height=800)
    tab.until("document.querySelector('.tile')")
    for where in ("#/queue", "#/nodes", "#/sessions", "#/data", "#/clouds", "#/reports", "#/"):
        go(tab, hal, where, "")
        tab.until("document.querySelector('main h1')")
        assert tab.run("document.documentElement.scrollWidth") <= 390
        tab.until("document.querySelector('nav [aria-current]').getBoundingClientRect().right <= 390")
    assert tab.complaints == []


def test_only_the_page_itself_may_call(hal: PageServices, tmp_path: Path) -> None:
    token = hal.link().partition("#token=")[2]
    ours, other = f"127.0.0.1:{hal.port}", "evil.example"
    for origin, host, status in [
        (f"http://{ours}", ours, 200),
        (f"https://{ours}", ours, 403),
        (f"http://{other}", ours, 403),
        ("null", ours, 403),
        (f"http://{other}", other, 403),
    ]:
        headers = {"host": host, "origin": origin, "authorization": f"Bearer {token}"}
        assert status_of(hal.port, "GET", "/v1/status", headers) == status, (origin, host)
    assert status_of(hal.port, "GET", "/", {"host": ours}) == 200
    assert status_of(hal.port, "GET", "/app.js", {"host": other}) == 421
    assert status_of(hal.port, "POST", "/", {"host": ours}) == 405
