"""The text in which Prometheus reads metrics, for the daemon's own few. Plugins have a library for theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def family(name: str, kind: str, about: str, samples: Iterable[tuple[str, float]]) -> str:
    """One metric with its samples: (what follows the name, such as `_sum` or `{reason="held"}`; the value)."""
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{suffix} {value:.10g}" for suffix, value in samples]
    return "\n".join(lines) + "\n"


def labelled(label: str, values: Iterable[tuple[str, float]]) -> Iterable[tuple[str, float]]:
    """Samples of one label, whose values are few and are words of ours: nothing in them needs an escape."""
    return ((f'{{{label}="{value}"}}', amount) for value, amount in values)


class Together:
    """Several of one kind, such as executors, may have the same metrics: what each is stands once, before all samples.

    Each of them has a `render` of its own.
    """

    def __init__(self, renders: Iterable[Callable[[], bytes]]) -> None:
        self._renders = tuple(renders)

    def render(self) -> bytes:
        families: dict[str, list[str]] = {}
        for render in self._renders:
            lines = families.setdefault("", [])
            for line in render().decode().splitlines():
                if line.startswith("# HELP "):
                    lines = families.setdefault(line.split(" ", 3)[2], [])
                if not line.startswith("#") or line not in lines:
                    lines.append(line)
        return "".join(f"{line}\n" for lines in families.values() for line in lines).encode()
