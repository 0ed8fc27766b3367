"""A workload made up: jobs at several sites that read datasets by Zipf's law, each of which lies on one node at first.

Sites are joined by a wide area link, the nodes of a site by a fast one. Jobs come at random (Poisson), take one to four
processors of a node and run for a time with an exponential distribution. Randomness is seeded: the same words make the
same jobs. Popularity of datasets: Breslau et al., Web caching and Zipf-like distributions, INFOCOM 1999.
"""

from __future__ import annotations

from itertools import accumulate
from random import Random

import attrs

from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.models.topology import Level, Link, Topology
from hal_core.sim.trace import Findings, Trace, TraceJob

CPUS = 16
RUN_S_MEAN = 600.0
WIDTHS = (1, 2, 3, 4)
LOCAL, WIDE = Link(1e-4, 1e9), Link(20e-3, 1e8, 0.02)
SIZE_BYTES = (10_000_000_000, 40_000_000_000)
"""Of datasets: from 100 to 400 s over the wide area."""


@attrs.frozen
class Zipf:
    """What is asked of the model. `load` is the share of the processors that jobs compute on, on average."""

    jobs: int = 5000
    sites: int = 3
    nodes: int = 8
    datasets: int = 1000
    seed: int = 0
    load: float = 0.7

    def cluster(self) -> Cluster:
        """The sites, and what joins them."""
        nodes = tuple(
            Node(NodeName(f"site{site}-{number}"), CPUS, 64 << 30, location=(f"site{site}",))
            for site in range(self.sites)
            for number in range(self.nodes)
        )
        partition = Partition(PartitionName("all"), tuple(node.name for node in nodes), is_default=True)
        return Cluster("sites", nodes, (partition,), topology=Topology((Level("site", LOCAL),), WIDE))

    def trace(self) -> Trace:
        """The jobs, as if they had been read. Limits are the run times."""
        random = Random(self.seed)  # noqa: S311  repeatable, nothing secret
        names = [f"dataset{number}" for number in range(self.datasets)]
        sizes = {name: random.randint(*SIZE_BYTES) for name in names}
        popularity = list(accumulate(1.0 / rank for rank in range(1, self.datasets + 1)))
        processors = self.sites * self.nodes * CPUS
        gap_s = RUN_S_MEAN * sum(WIDTHS) / len(WIDTHS) / (self.load * processors)
        jobs: list[TraceJob] = []
        now_s = 0.0
        for number in range(self.jobs):
            now_s += random.expovariate(1.0 / gap_s)
            run_s = max(1.0, random.expovariate(1.0 / RUN_S_MEAN))
            (name,) = random.choices(names, cum_weights=popularity)
            width = random.choice(WIDTHS)
            jobs.append(TraceJob(number, now_s, run_s, run_s, width, f"user{number % 20}", inputs=(name,)))
        return attrs.evolve(Findings().trace(jobs, processors, {}, self.cluster()), sizes=sizes, replica_count=1)
