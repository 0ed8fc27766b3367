"""Tests of the alert rules, for promtool: what goes wrong in each, beside a quiet hour in which nothing does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LABELS = 'job="hal", instance="h"'
MINUTES = 150
QUIET = {
    f"up{{{LABELS}}}": "1",
    f"hal_accepting{{{LABELS}}}": "1",
    f"hal_loop_late_seconds_recent_max{{{LABELS}}}": "0.02",
    f"hal_journal_append_seconds_sum{{{LABELS}}}": "0+6",
    f"hal_journal_append_seconds_count{{{LABELS}}}": "0+600",
    f'hal_nodes{{{LABELS}, status="down"}}': "0",
    f'hal_nodes{{{LABELS}, status="up"}}': "100",
    f'hal_queue_jobs{{{LABELS}, reason="resources"}}': "1",
    f"hal_jobs_started_total{{{LABELS}}}": "0+60",
    f'hal_cpus{{{LABELS}, use="taken"}}': "900",
    f'hal_cpus{{{LABELS}, use="free"}}': "100",
    f'hal_cpus{{{LABELS}, use="out"}}': "0",
    f'hal_jobs_ended_total{{{LABELS}, state="COMPLETED", kind="exited"}}': "0+60",
    f'hal_jobs_ended_total{{{LABELS}, state="FAILED", kind="launch_failed"}}': "0+1",
    f"hal_observers_disabled_total{{{LABELS}}}": "0",
    f'hal_predictions_total{{{LABELS}, band="within"}}': "0+48",
    f'hal_predictions_total{{{LABELS}, band="above"}}': "0+6",
}
"""A metric, and how it goes from minute to minute in promtool's words."""

CAUSES: dict[str, dict[str, str]] = {
    "HalDown": {f"up{{{LABELS}}}": "0"},
    "HalTakesNothing": {f"hal_accepting{{{LABELS}}}": "0"},
    "HalLoopStalls": {f"hal_loop_late_seconds_recent_max{{{LABELS}}}": "1.5"},
    "HalDiskSlow": {f"hal_journal_append_seconds_sum{{{LABELS}}}": "0+400"},
    "HalNodesDown": {f'hal_nodes{{{LABELS}, status="down"}}': "3"},
    "HalNothingStarts": {
        f"hal_jobs_started_total{{{LABELS}}}": "7",
        f'hal_cpus{{{LABELS}, use="taken"}}': "100",
        f'hal_cpus{{{LABELS}, use="free"}}': "900",
    },
    "HalLaunchesFail": {f'hal_jobs_ended_total{{{LABELS}, state="FAILED", kind="launch_failed"}}': "0+20"},
    "HalObserverOff": {f"hal_observers_disabled_total{{{LABELS}}}": f"0x{MINUTES - 30} 1"},
    "HalPredictionsOff": {f'hal_predictions_total{{{LABELS}, band="above"}}': "0+90"},
}
"""What differs from the quiet hour when the alert is to fire."""


def write_tests(rules: Path, path: Path) -> None:
    """A file for `promtool test rules`: each alert fires on its own cause and on no other, none when all is quiet."""
    tests = [_test("a quiet hour", {}, set())]
    tests += [_test(alert, changes, {alert}) for alert, changes in CAUSES.items()]
    path.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))


def _test(name: str, changes: dict[str, str], firing: set[str]) -> dict[str, Any]:
    values = {series: f"{value}x{MINUTES}" for series, value in (QUIET | changes).items()}
    queries = [
        {
            "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
            "eval_time": f"{MINUTES}m",
            "exp_samples": [{"labels": "{}", "value": 1}] if alert in firing else [],
        }
        for alert in CAUSES
    ]
    series = [{"series": series, "values": text} for series, text in values.items()]
    return {"name": name, "interval": "1m", "input_series": series, "promql_expr_test": queries}
