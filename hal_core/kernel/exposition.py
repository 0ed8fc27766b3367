"""The text in which Prometheus reads metrics, for the daemon's own few. Plugins have a library for theirs."""

from __future__ import annotations

from collections.abc import Iterable


def family(name: str, kind: str, about: str, samples: Iterable[tuple[str, float]]) -> str:
    """One metric with its samples: (what follows the name, such as `_sum` or `{reason="held"}`; the value)."""
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{suffix} {value:.10g}" for suffix, value in samples]
    return "\n".join(lines) + "\n"


def labelled(label: str, values: Iterable[tuple[str, float]]) -> Iterable[tuple[str, float]]:
    """Samples of one label, whose values are few and are words of ours: nothing in them needs an escape."""
    return ((f'{{{label}="{value}"}}', amount) for value, amount in values)
