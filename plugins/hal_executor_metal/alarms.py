"""What the executor refused, counted; and which nodes have broken the protocol too often of late.

An agent that offends is disconnected each time. After the third offence within ten minutes its node is turned away for
a minute, so that it stays suspect instead of coming and going.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

OFFENCES_MAX = 3
OFFENCE_WINDOW_S = 600.0
PENALTY_S = 60.0


class Alarms:
    """`now_s` is any clock that does not go back."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.counts: Counter[str] = Counter()
        self._now_s = now_s
        self._offences: dict[str, deque[float]] = {}

    def count(self, kind: str) -> None:
        self.counts[kind] += 1

    def offend(self, node: str) -> None:
        """The agent of this node broke the protocol."""
        self.count("protocol")
        self._offences.setdefault(node, deque(maxlen=OFFENCES_MAX)).append(self._now_s())

    def penalty_s(self, node: str) -> float:
        """How much longer the node is turned away; 0 if it is not."""
        offences = list(self._offences.get(node, ()))
        if len(offences) < OFFENCES_MAX or offences[0] < offences[-1] - OFFENCE_WINDOW_S:
            return 0.0
        return max(0.0, offences[-1] + PENALTY_S - self._now_s())

    def render(self, connected_count: int) -> bytes:
        """For /metrics."""
        lines = [
            "# HELP hal_agents_connected Agents that are connected now.",
            "# TYPE hal_agents_connected gauge",
            f"hal_agents_connected {connected_count}",
            "# HELP hal_agent_alarms_total Connections and agents that were refused, by reason.",
            "# TYPE hal_agent_alarms_total counter",
        ]
        lines += [f'hal_agent_alarms_total{{kind="{kind}"}} {count}' for kind, count in sorted(self.counts.items())]
        return "".join(f"{line}\n" for line in lines).encode()
