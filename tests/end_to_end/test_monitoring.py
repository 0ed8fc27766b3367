"""A real Prometheus scrapes a real HAL: promtool finds no fault, alerts fire on their causes, queries find metrics."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.alerts import CAUSES, write_tests
from tests.support.needs import need
from tests.support.page_services import PageServices
from tests.support.prometheus import Prometheus, promtool, why_no_prometheus
from tests.tidy.tree import ROOT

MONITORING = Path(str(files("hal_observer_prometheus"))) / "monitoring"
RULES = MONITORING / "rules.yaml"
LABELS_MAX = 64
"""Series of one metric: no label may grow with jobs, users or nodes."""


@pytest.fixture(scope="module")
def hal() -> Iterator[PageServices]:
    need(why_no_prometheus())
    with PageServices(cpus=4) as running:
        running.submit_bulk([["/bin/true"]] * 20)
        running.wait_until_done()
        yield running


@pytest.fixture(scope="module")
def prometheus(hal: PageServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    token = token_of(hal)
    with Prometheus(tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{hal.port}", token, RULES) as running:
        running.until('up{job="hal"} == 1')
        yield running


def token_of(hal: PageServices) -> str:
    return hal.link().partition("#token=")[2]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_promtool_finds_no_fault_in_the_metrics(hal: PageServices) -> None:
    request = urllib.request.Request(f"{hal.url}/metrics", headers={"authorization": f"Bearer {token_of(hal)}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
    assert promtool("check", "metrics", text=text) == (0, "")
    counts: dict[str, int] = {}
    for name in re.findall(r"^(\w+)\{", text, re.MULTILINE):
        counts[name] = counts.get(name, 0) + 1
    assert max(counts.values()) <= LABELS_MAX, counts


def test_promtool_finds_no_fault_in_the_rules() -> None:
    need(why_no_prometheus())
    code, said = promtool("check", "rules", "--lint-fatal", str(RULES))
    assert code == 0, said
    assert "SUCCESS" in said


def test_every_alert_fires_on_its_cause_and_none_when_all_is_quiet(tmp_path: Path) -> None:
    need(why_no_prometheus())
    assert [rule["alert"] for rule in alerts()] == list(CAUSES), "an alert without a test, or a test without an alert"
    write_tests(RULES, tmp_path / "tests.yaml")
    code, said = promtool("test", "rules", str(tmp_path / "tests.yaml"))
    assert code == 0, said


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs/how-to/monitor-with-prometheus.md").read_text()
    assert not [rule["alert"] for rule in alerts() if f"`{rule['alert']}`" not in page]


def test_prometheus_scrapes_hal(prometheus: Prometheus) -> None:
    prometheus.until("hal_jobs_ended_total == 20")
    prometheus.until('hal:cpus_taken:ratio{job="hal"} == 0')
    [target] = prometheus.get("/api/v1/targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    groups = prometheus.get("/api/v1/rules")["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"] == []


def test_every_query_of_the_dashboard_asks_for_what_is_there(prometheus: Prometheus) -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    known = set(prometheus.get("/api/v1/label/__name__/values"))
    recorded = set(re.findall(r"record: (\S+)", RULES.read_text()))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) >= len(dashboard["panels"]) >= 10
    for query in queries:
        prometheus.query(query)
        for name in re.findall(r"\b(?:hal|process)[:_][\w:]+", query):
            assert name in known | recorded, f"{name} of {query!r}"
