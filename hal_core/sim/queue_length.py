"""The plain rule that pools are compared with: an instance for each waiting node-equivalent, released after ten idle
minutes. It knows neither when jobs would start without more nodes nor what they cost, and no budget.
"""

from __future__ import annotations

import math

from hal_core.models.cloud_pool import CloudPool, Market
from hal_core.models.pool_decision import Admit, InstanceState, PoolAction, Provision, Relinquish
from hal_core.rules.pools import PoolDecision, PoolView

IDLE_S = 600.0


def queue_length(pool: CloudPool, view: PoolView) -> PoolDecision:
    """By the first offer that is sold on demand."""
    offer = next(each for each in pool.offers if each.market is Market.ON_DEMAND)
    now_s, wake_s = view.now_s, math.inf
    actions: list[PoolAction] = []
    wants = [want for want in view.wants if offer.name in want.instances]
    alive = [each for each in view.instances if each.state is not InstanceState.RELEASING]
    room = sum(1.0 if each.state is InstanceState.BOOTING else view.free.get(each.name, 0.0) for each in alive)
    missing = math.ceil(sum(want.instances[offer.name] for want in wants) - room - 1e-9)
    count = min(missing, pool.count_max - len(view.instances), offer.count_max - len(view.instances))
    if count > 0 and view.closed_until_s.get(offer.name, -math.inf) <= now_s:
        token = f"{pool.name}-{view.serial + 1}"
        actions.append(Provision(token, offer.name, count, math.inf, f"{missing} node-equivalents wait"))
    new = [want for want in wants if want.job_id not in view.admitted]
    actions += [Admit(want.job_id, offer.name, "it waits", 0.0) for want in new]
    for each in alive:
        if each.state is InstanceState.BOOTING:
            never_s = each.requested_s + offer.boot_s_max
            wake_s = min(wake_s, never_s if never_s > now_s else math.inf)
            if never_s <= now_s:
                actions.append(Relinquish(each.name, "it did not join in time"))
        elif each.idle_since_s is not None and now_s - each.idle_since_s >= IDLE_S:
            actions.append(Relinquish(each.name, f"idle for {IDLE_S:.0f} s"))
        elif each.idle_since_s is not None:
            wake_s = min(wake_s, each.idle_since_s + IDLE_S)
    return PoolDecision(tuple(actions), view.worth, min([wake_s, *_reopenings(view)]))


def _reopenings(view: PoolView) -> list[float]:
    return [time_s for time_s in view.closed_until_s.values() if time_s > view.now_s]
