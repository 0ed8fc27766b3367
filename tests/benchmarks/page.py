"""How fluid the web page is in a real Chromium: 10,000 nodes on the map and 100,000 jobs in the queue.

The API is the real one, over a kernel without a disk. Times are Chromium's own: of the first paint, until the map is
there, and of the longest stretch in which the page's main thread did nothing else while it updated and scrolled: `_ms`
as the clock has it, on a machine that may do other things, `_cpu_ms` as the thread itself has it.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio

from hal_core.models.message import Cancel, JobSelection
from hal_core.rules.cluster_map import cluster_map
from tests.benchmarks.common import Figures, parser_of, progress, run
from tests.support.chromium import Chromium, Tab
from tests.support.hal import hal_command
from tests.support.large_cluster import LargePage, furnish, large_kernel, serving_page

MARK = "hal.traced"
SCROLL = """new Promise((resolve) => { const list = document.querySelector(".list"); let left = 200;
    const step = () => { list.scrollTop += 900; if (left--) requestAnimationFrame(step); else resolve(); };
    step(); })"""

LAST_ROW = "Math.max(...[...document.querySelectorAll('.row[id]')].map((row) => Number(row.id.slice(4))))"
SEEN = """document.querySelector('main h1 ~ *') &&
    document.querySelector('.tile, .card, iframe, .list .row:nth-child(9)')"""
REPORT = "last-month.html"


def measure(given: argparse.Namespace) -> Figures:
    progress(f"a cluster of {given.nodes} nodes with {given.jobs} jobs")
    kernel = large_kernel(given.nodes, given.jobs)
    begin_s = time.process_time()
    cluster_map(kernel.state)
    figures: Figures = {"map_cpu_ms": round(1000 * (time.process_time() - begin_s), 1)}

    async def serve(reports: str) -> None:
        async with serving_page(kernel, reports) as page:
            furnish(kernel, page.sessions)
            figures.update(await trio.to_thread.run_sync(look, page, given.pictures))

    with tempfile.TemporaryDirectory() as reports:
        if given.pictures:
            write_report(Path(reports) / REPORT)
        trio.run(serve, reports)
    return figures | {"node_count": given.nodes, "job_count": given.jobs}


def look(page: LargePage, pictures: str | None) -> Figures:
    with tempfile.TemporaryDirectory() as directory, Chromium(Path(directory)) as browser:
        tab = browser.open(page.link)
        tab.until("document.querySelector('.tile')")
        figures: Figures = {
            "first_paint_ms": tab.run("performance.getEntriesByName('first-contentful-paint')[0].startTime"),
            "map_drawn_ms": tab.run("performance.now()"),
        }
        figures |= longest("map_update", browser, tab, lambda: update(tab, page))
        tab.run("void (location.hash = '#/queue')")
        tab.until("document.querySelectorAll('.list .row').length > 10")
        figures |= longest("queue_scroll", browser, tab, lambda: tab.run(SCROLL))
        figures |= longest("queue_update", browser, tab, lambda: update(tab, page))
        figures["queue_rows_loaded"] = tab.run(
            "Math.max(...[...document.querySelectorAll('.row[id]')].map((row) => Number(row.id.slice(4))))"
        )
        if pictures:
            take_pictures(browser, page, Path(pictures))
        assert tab.complaints == [], tab.complaints
        return {name: round(value, 1) for name, value in figures.items()}


def longest(what: str, browser: Chromium, tab: Tab, work: Callable[[], object]) -> Figures:
    """The longest task of the tab's main thread while that is done."""

    def marked() -> None:
        tab.run(f"void performance.mark('{MARK}')")
        work()

    events = browser.trace(marked)
    [thread] = {(event["pid"], event["tid"]) for event in events if event["name"] == MARK}
    tasks = [event for event in events if "RunTask" in event["name"] and (event["pid"], event["tid"]) == thread]
    return {
        f"{what}_longest_ms": max(task.get("dur", 0) for task in tasks) / 1000,
        f"{what}_longest_cpu_ms": max(task.get("tdur", 0) for task in tasks) / 1000,
    }


def update(tab: Tab, page: LargePage) -> None:
    """The page takes in five changes."""
    for _ in range(5):
        seen = tab.run("performance.getEntriesByName('hal.refresh').length")
        trio.from_thread.run_sync(change, page)
        tab.until(f"performance.getEntriesByName('hal.refresh').length > {seen}")


def change(page: LargePage) -> None:
    """A running job is cancelled, so that something is to be seen."""
    job_id = next(activity.record.job_id for activity in page.kernel.state.allocations.values() if not activity.cancel)
    page.kernel.tell(Cancel(JobSelection(job_id), "oper"))


def write_report(path: Path) -> None:
    """Of a replay, for the pictures."""
    words = ["replay", "lublin:jobs=2000,seed=1", "--policy", "easy", "--policy", "hal", "--report", str(path)]
    subprocess.run([*hal_command(), *words], check=True, capture_output=True)


def take_pictures(browser: Chromium, page: LargePage, directory: Path) -> None:
    """For the documentation."""
    for name, where, is_dark, width, height in (
        ("page-cluster", "#/", False, 1280, 820),
        ("page-cluster-dark", "#/", True, 1280, 820),
        ("page-queue", "#/queue", False, 1280, 820),
        ("page-queue-dark", "#/queue", True, 1280, 820),
        ("page-job", "#/job/1", False, 1280, 820),
        ("page-sessions", "#/sessions", False, 1280, 560),
        ("page-data-dark", "#/data", True, 1280, 900),
        ("page-clouds", "#/clouds", False, 1280, 740),
        ("page-reports", f"#/reports/{REPORT}", False, 1280, 900),
        ("page-phone", "#/", True, 390, 820),
        ("page-phone-queue", "#/queue", False, 390, 820),
        ("page-phone-sessions", "#/sessions", False, 390, 820),
        ("page-phone-data", "#/data", False, 390, 820),
        ("page-phone-clouds", "#/clouds", True, 390, 820),
        ("page-phone-reports", f"#/reports/{REPORT}", True, 390, 820),
    ):
        tab = browser.open(page.link, width=width, height=height, is_dark=is_dark)
        tab.until("document.querySelector('.tile')")
        tab.run(f"void (location.hash = '{where}')")
        tab.until(SEEN)
        if where.endswith(REPORT):
            frame = browser.frame_of(tab)
            frame.until("document.querySelector('figure')")
            frame.run("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        tab.screenshot(directory / f"{name}.png")
        assert tab.complaints == [], tab.complaints


def main() -> None:
    parser = parser_of("page")
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--pictures", metavar="DIR", help="leave screenshots here")
    run(__doc__, measure, parser)


if __name__ == "__main__":
    main()
