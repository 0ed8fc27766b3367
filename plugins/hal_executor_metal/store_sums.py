"""What the stores of all nodes have said of their deliveries, for /metrics."""

from __future__ import annotations

import attrs

from hal_core import Brought

EXPOSITION = """\
# HELP hal_data_bytes_total Bytes of datasets that nodes needed, by where they were.
# TYPE hal_data_bytes_total counter
hal_data_bytes_total{{source="replica"}} {replica}
hal_data_bytes_total{{source="node"}} {lent}
hal_data_bytes_total{{source="here"}} {here}
# HELP hal_data_orders_total Datasets that were ordered to a node, by whether they were there.
# TYPE hal_data_orders_total counter
hal_data_orders_total{{result="hit"}} {hits}
hal_data_orders_total{{result="miss"}} {misses}
# HELP hal_data_evictions_total Copies that went to make room for others.
# TYPE hal_data_evictions_total counter
hal_data_evictions_total {evictions}
"""


@attrs.define
class StoreSums:
    """Since the daemon began."""

    replica: int = 0
    lent: int = 0
    here: int = 0
    hits: int = 0
    misses: int = 0
    evictions: int = 0

    def add(self, brought: Brought) -> None:
        self.replica += brought.bytes_moved - brought.bytes_lent
        self.lent += brought.bytes_lent
        self.here += brought.bytes_saved
        self.hits += brought.found_count
        self.misses += brought.missed_count
        self.evictions += brought.evicted_count

    def render(self) -> bytes:
        return EXPOSITION.format(**attrs.asdict(self)).encode()
