"""What /metrics says of the stores of all nodes."""

from __future__ import annotations

from hal_core.models.dataset import Brought
from hal_executor_metal.store_sums import StoreSums


def test_deliveries_are_added_up_by_where_the_bytes_were():
    sums = StoreSums()
    sums.add(Brought(10, 3, bytes_lent=4, found_count=1, missed_count=2, evicted_count=5))
    sums.add(Brought(0, 7, found_count=1))
    figures = [line for line in sums.render().decode().splitlines() if not line.startswith("#")]
    assert figures == [
        'hal_data_bytes_total{source="replica"} 6',
        'hal_data_bytes_total{source="node"} 4',
        'hal_data_bytes_total{source="here"} 10',
        'hal_data_orders_total{result="hit"} 2',
        'hal_data_orders_total{result="miss"} 2',
        "hal_data_evictions_total 5",
    ]
