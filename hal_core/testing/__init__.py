"""The plugin author's kit: fakes of the planes, Hypothesis strategies, and a conformance check for each plane.

    from hal_core.testing import check_engine

    def test_my_engine_keeps_the_contract():
        check_engine(lambda: MyEngine())

Needs the test extra (pytest, hypothesis). Nothing in HAL itself imports this.
"""

from hal_core.testing.check_cloud import check_cloud, check_cloud_faults
from hal_core.testing.check_data_source import check_data_source, check_data_source_broken_off
from hal_core.testing.check_engine import check_engine, check_plan
from hal_core.testing.check_locality import LocalityTrial, check_locality, check_locality_broken_off
from hal_core.testing.check_planes import check_executor, check_observer
from hal_core.testing.check_predictor import check_predictor
from hal_core.testing.check_store import check_store_executor
from hal_core.testing.check_suspend import check_suspend_executor
from hal_core.testing.fake_executor import Behaviour, FakeExecutor, succeeds_at_once
from hal_core.testing.fake_machines import FakeMachines, Fault
from hal_core.testing.fakes import (
    FakeCloud,
    FakeEngine,
    FakeEventLog,
    FakeLocality,
    FakeObserver,
    FakePredictor,
    FakeSource,
)
from hal_core.testing.plugin_check import Check, check_plugin
from hal_core.testing.snapshots import FakeColumns, FakeSnapshot
from hal_core.testing.strategies import clusters, job_specs, nodes, shapes, snapshots, workloads

__all__ = [
    "Behaviour",
    "Check",
    "FakeCloud",
    "FakeColumns",
    "FakeEngine",
    "FakeEventLog",
    "FakeExecutor",
    "FakeLocality",
    "FakeMachines",
    "FakeObserver",
    "FakePredictor",
    "FakeSnapshot",
    "FakeSource",
    "Fault",
    "LocalityTrial",
    "check_cloud",
    "check_cloud_faults",
    "check_data_source",
    "check_data_source_broken_off",
    "check_engine",
    "check_executor",
    "check_locality",
    "check_locality_broken_off",
    "check_observer",
    "check_plan",
    "check_plugin",
    "check_predictor",
    "check_store_executor",
    "check_suspend_executor",
    "clusters",
    "job_specs",
    "nodes",
    "shapes",
    "snapshots",
    "succeeds_at_once",
    "workloads",
]
