"""What counts as the same request again: what was asked for, not the moment that it meant when it was read."""

import pytest

from hal_core.errors import Conflict
from hal_core.models.job import JobSpec, Owner
from hal_core.models.message import Submission, Submit
from hal_core.parsing.request import JobRequest, ParseContext, parse_job
from hal_core.rules.core import SLICE
from tests.support.rest_kernel import CLUSTER, RestKernel

OWNER = Owner("ada", 1001, 1001)


def spec(now_s: float, *options: tuple[str, str]) -> JobSpec:
    request = JobRequest(client_id="c", command=("true",), options=options, working_directory="/")
    return parse_job(request, ParseContext.of_cluster(CLUSTER, now_s)).spec


def submit(client_id: str, given: JobSpec) -> Submit:
    return Submit((Submission(client_id, OWNER, given),))


@pytest.mark.parametrize("begin", ["now+1hour", "now", "16:00", "tomorrow"])
async def test_a_relative_begin_is_the_same_whenever_it_is_read(begin):
    kernel = RestKernel()
    first = await kernel.ask(submit("c", spec(1000.0, ("begin", begin))))
    sequence = kernel.state.sequence
    assert await kernel.ask(submit("c", spec(90_001.5, ("begin", begin)))) == first
    assert kernel.state.sequence == sequence


@pytest.mark.parametrize(
    "options", [[], [("begin", "now+2hours")], [("begin", "now+1hour"), ("time", "5")], [("begin", "now+60minutes")]]
)
async def test_another_request_is_another_request(options):
    kernel = RestKernel()
    await kernel.ask(submit("c", spec(1000.0, ("begin", "now+1hour"))))
    with pytest.raises(Conflict, match="asks for something else"):
        await kernel.ask(submit("c", spec(1000.0, *options)))


def test_a_large_message_is_decided_in_slices_and_means_the_same():
    together, sliced = RestKernel(), RestKernel()
    many = Submit(tuple(Submission(f"c.{n}", OWNER, spec(1000.0)) for n in range(3 * SLICE + 1)))
    whole = together.core.receive(many, 1000.0)
    steps = sliced.core.receiving(many, 1000.0)
    pauses = []
    while True:
        try:
            next(steps)
        except StopIteration as done:
            decided = done.value
            break
        pauses.append(sliced.state.sequence)
    assert decided == whole
    assert [after - pauses[0] for after in pauses] == [0, SLICE, 2 * SLICE]
    assert sliced.state.dump() == together.state.dump()
