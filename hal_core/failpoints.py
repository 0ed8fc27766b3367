"""The failpoints that there are, by name, and `reach`, which marks them in the code. For tests: see tests/campaigns.

The mechanism is in the launcher, which may import nothing from outside its folder. A name is marked in one place of
the code only; tests/tidy holds this list complete, and the crash campaign visits every name on it.
"""

from __future__ import annotations

from typing import Final

from hal_core.agent.launcher.failpoints import environment as environment, reach as reach

JOURNAL: Final = (
    "journal.locked",
    "journal.position_found",
    "journal.epoch_marked",
    "journal.tables_written",
    "journal.opened",
    "journal.before_transaction",
    "journal.before_commit",
    "journal.after_commit",
    "journal.after_mark",
    "journal.before_checkpoint",
    "journal.after_checkpoint",
    "snapshot.begun",
    "snapshot.folded",
    "snapshot.written",
    "file.written",
    "file.synced",
    "file.renamed",
)
"""Of the journal and its files: kernel/journal.py, journal_files.py, snapshot.py."""

DAEMON: Final = (
    "kernel.recovered",
    "kernel.defined",
    "kernel.before_append",
    "kernel.after_append",
    "kernel.answered",
    "kernel.report_journalled",
    "order.before_launch",
    "order.after_launch",
    "order.before_cancel",
    "order.after_cancel",
    "order.before_forget",
    "order.after_forget",
)
"""From a decision to the orders for the nodes: kernel/loop.py, kernel/effects.py."""

AGENT: Final = (
    "agent.order_received",
    "agent.epoch_written",
    "agent.epoch_durable",
    "agent.launch_ordered",
    "agent.cancel_ordered",
    "agent.before_report",
    "agent.after_report",
    "agent.before_forget",
    "agent.after_forget",
)
"""agent/agent.py, agent/book.py."""

SPAWNER: Final = (
    "spawner.recovered",
    "spawner.launch_received",
    "records.claim_prepared",
    "spawner.claim_written",
    "spawner.claims_durable",
    "spawner.handed_over",
    "spawner.cancel_received",
    "spawner.cancel_recorded",
    "spawner.lost_noticed",
    "spawner.lost_recorded",
)
"""agent/launcher/spawner.py."""

SUPERVISOR: Final = (
    "supervisor.begun",
    "supervisor.run_recorded",
    "supervisor.executed",
    "supervisor.start_recorded",
    "supervisor.tree_ended",
    "supervisor.end_written",
    "supervisor.end_durable",
    "supervisor.poked",
)
"""agent/launcher/supervisor.py. Every supervisor counts for itself."""

NAMES: Final = (*JOURNAL, *DAEMON, *AGENT, *SPAWNER, *SUPERVISOR)
