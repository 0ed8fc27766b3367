"""What is looked at of an executor's report: each kind that there is goes through, and nothing else does."""

from __future__ import annotations

import pytest

from hal_core.errors import PluginError
from hal_core.kernel.executor_reports import check_report
from hal_core.models.access import AccessChange
from hal_core.models.message import NodeSilent, NoteAccess, Submit
from hal_core.models.node import NodeName


def test_that_a_node_has_joined_is_noted_by_the_executor_that_let_it_in():
    check_report(NoteAccess(AccessChange.NODE_ENROLLED, "n1", "root", "from 10.0.0.1"), "metal")


def test_what_is_no_report_is_refused():
    check_report(NodeSilent(NodeName("n1")), "metal")
    with pytest.raises(PluginError, match=r"executors report BookingsReported, .*NoteAccess"):
        check_report(Submit, "metal")
