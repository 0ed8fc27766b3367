"""What the kernel's cycle costs: passes of the engine and writes of the journal. Counted where they happen."""

from __future__ import annotations

from hal_core.kernel.exposition import family


class Span:
    """How often something was done, and how long it took in all."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds

    def render(self, name: str, about: str) -> str:
        return family(name, "summary", about, [("_sum", self.seconds), ("_count", self.count)])


class CycleMeter:
    """The spans of one kernel."""

    def __init__(self) -> None:
        self.plans = Span()
        self.appends = Span()
        self.plan_failure_count = 0
        """Passes in which the engine raised, was too slow, or returned what is no plan."""

    def render(self) -> bytes:
        """In the Prometheus text format."""
        plans = self.plans.render("hal_plan_seconds", "Passes of the engine.")
        appends = self.appends.render("hal_journal_append_seconds", "Writes of the journal, each synced.")
        about = "Passes in which the engine failed."
        failures = family("hal_plan_failures_total", "counter", about, [("", self.plan_failure_count)])
        return (plans + appends + failures).encode("ascii")
