"""What goes wrong in one run: a random subset of all faults with random rates, so that seeds differ (swarm testing)."""

from __future__ import annotations

from random import Random

import attrs

ON_SHARE = 0.5
"""Each fault is on in so many of the seeds."""


@attrs.frozen
class Faults:
    """Rates are per simulated hour and for the whole cluster, chances are for each occasion, times are in seconds."""

    power_cuts: float = 0.0
    agent_kills: float = 0.0
    supervisor_kills: float = 0.0
    daemon_kills: float = 0.0
    kills_in_recovery: float = 0.0
    """Chance that a daemon which was killed is killed again before it is ready."""
    kills_in_staging: float = 0.0
    """Chance that the daemon is killed while the inputs of an attempt are brought."""
    cuts: float = 0.0
    """A node's link is cut, both ways or one, from a second to two hours."""
    resets: float = 0.0
    """Connections break, after which both sides may try again at once."""
    losses: float = 0.0
    """From some message on, a connection delivers nothing more; nobody is told."""
    report_copies: float = 0.0
    """Chance that a report comes once more, up to a minute later, whatever has happened since; of staging, that it was
    tried once more, and perhaps with another outcome."""
    order_copies: float = 0.0
    """Chance that an order comes twice."""
    old_orders: float = 0.0
    """Chance that an order of a dead daemon comes again after a newer one has given orders."""
    delay_s_max: float = 0.01
    """How long messages are on their way, in order within one connection."""
    is_heavy_tailed: bool = False
    clock_steps: float = 0.0
    """Somebody sets the clock of the daemon's machine, by seconds up to a day, forward or back."""
    skew_s_max: float = 0.0
    """By so much the nodes' clocks may be wrong."""
    sync_s_max: float = 0.005
    """How long the disk takes for a sync."""
    disk_failures: float = 0.0
    """The journal's disk takes nothing for 1 s to 5 minutes."""
    lane_s_max: float = 0.001
    """How long an executor takes to send orders."""
    launch_s_max: float = 0.1
    spawner_s_max: float = 0.0
    """How long a spawner may leave its orders unread, now and then; its node has no record of them meanwhile."""
    launch_failures: float = 0.0
    staging_s_max: float = 5.0
    staging_failures: float = 0.0
    stubborn: float = 0.0
    """Chance that a job ignores SIGTERM."""
    wrong_engine: float = 0.0
    """Chance that the engine's plan contains nonsense."""
    drains: float = 0.0


RATES = {
    "power_cuts": 6.0,
    "agent_kills": 10.0,
    "supervisor_kills": 10.0,
    "daemon_kills": 4.0,
    "cuts": 4.0,
    "resets": 20.0,
    "losses": 6.0,
    "disk_failures": 3.0,
    "drains": 4.0,
    "clock_steps": 4.0,
}
CHANCES = {
    "kills_in_recovery": 0.5,
    "kills_in_staging": 0.1,
    "report_copies": 0.2,
    "order_copies": 0.2,
    "old_orders": 0.2,
    "launch_failures": 0.05,
    "staging_failures": 0.2,
    "stubborn": 0.5,
    "wrong_engine": 0.1,
}
TIMES_S = {
    "delay_s_max": (0.1, 1.0, 10.0),
    "skew_s_max": (5.0, 600.0, 86_400.0),
    "sync_s_max": (0.05, 1.0, 5.0),
    "lane_s_max": (0.1, 5.0, 20.0),
    "launch_s_max": (0.5, 2.0),
    "spawner_s_max": (1.0, 10.0, 30.0),
    "staging_s_max": (60.0, 300.0),
}


def draw(dice: Random) -> Faults:
    """The faults of one seed."""
    drawn: dict[str, float | bool] = {"is_heavy_tailed": dice.random() < ON_SHARE}
    for name, most in (RATES | CHANCES).items():
        if dice.random() < ON_SHARE:
            drawn[name] = dice.uniform(0.1, 1.0) * most
    for name, choices in TIMES_S.items():
        if dice.random() < ON_SHARE:
            drawn[name] = dice.choice(choices)
    return Faults(**drawn)  # type: ignore[arg-type]


CALM = Faults()
"""What is left when the faults stop."""
