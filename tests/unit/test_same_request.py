"""What counts as the same request again: what was asked for, not the moment that it meant when it was read."""

import attrs
import pytest

from hal_core.errors import Conflict, InvalidInput
from hal_core.models.dataset import REFERENCE, Measured
from hal_core.models.event import VariantChosen
from hal_core.models.job import JobSpec, Owner
from hal_core.models.message import AddDataset, Submission, Submit
from hal_core.parsing.context import ParseContext
from hal_core.parsing.request import JobRequest, parse_job
from hal_core.rules.anonymous import anonymous
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


async def test_a_submission_that_is_repeated_when_its_deadline_is_over_is_the_same_job():
    kernel, deadline = RestKernel(), ("deadline", "1970-01-01T01:00:00Z")
    first = await kernel.ask(submit("c", spec(1000.0, deadline)))
    kernel.now_s = 4000.0
    assert await kernel.ask(submit("c", spec(4000.0, deadline))) == first
    with pytest.raises(InvalidInput, match="deadline: '1970-01-01T01:00:00Z' is over; give a time that is to come"):
        await kernel.ask(submit("another", spec(4000.0, deadline)))


@pytest.mark.parametrize(
    "options", [[], [("begin", "now+2hours")], [("begin", "now+1hour"), ("time", "5")], [("begin", "now+60minutes")]]
)
async def test_another_request_is_another_request(options):
    kernel = RestKernel()
    await kernel.ask(submit("c", spec(1000.0, ("begin", "now+1hour"))))
    with pytest.raises(Conflict, match="asks for something else"):
        await kernel.ask(submit("c", spec(1000.0, *options)))


def test_a_request_is_the_same_whichever_amounts_were_chosen_for_it_meanwhile():
    core = RestKernel().core
    given = spec(1000.0, ("nodes", "1-2"), ("time", "60"))
    answer = core.receive(submit("c", given), 1000.0).answer
    (record,) = core.state.jobs.values()
    core.state.apply(VariantChosen(1001.0, record.job_id, 1, given.variants[1], None, None))
    assert record.spec != given
    assert core.receive(submit("c", given), 1001.0).answer == answer


def test_a_request_is_the_same_whatever_size_its_first_attempt_is_given_by_now():
    core = RestKernel().core
    given = spec(1000.0, ("mem", "8G"), ("auto-memory", ""))
    answer = core.receive(submit("c", attrs.evolve(given, first_memory_bytes=1 << 30)), 1000.0).answer
    for size_bytes in (0, 1 << 31):
        again = attrs.evolve(given, first_memory_bytes=size_bytes)
        assert core.receive(submit("c", again), 1001.0).answer == answer


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
    begun = [after - pauses[0] for after in pauses if after > pauses[0]]
    assert begun == [SLICE, 2 * SLICE, 3 * SLICE]
    assert len(pauses) - len(begun) == 1, "and one while it was looked at, before anything was applied"
    assert sliced.state.dump() == together.state.dump()


@pytest.mark.parametrize("is_first_measured", [True, False])
@pytest.mark.parametrize("text", ["https://host/reads", "/shared/reads", "reads", "tank:reads"])
async def test_an_input_is_the_same_whether_it_could_be_measured_or_not(text, is_first_measured):
    kernel = RestKernel()
    address = f"/shared/{text}" if text == "reads" else text
    dataset = anonymous(address, Measured(5, "1"), OWNER)
    await kernel.ask(AddDataset(dataset))
    plain = attrs.evolve(spec(1000.0, ("inputs", "x")), working_directory="/shared", inputs=(text,))
    measured = attrs.evolve(plain, inputs=(f"{REFERENCE}{dataset.id}",))
    first, again = (measured, plain) if is_first_measured else (plain, measured)
    answer = await kernel.ask(submit("c", first))
    assert await kernel.ask(submit("c", again)) == answer
    for other in ("https://host/other", "/shared/other", f"{REFERENCE}reads", "/reads"):
        with pytest.raises(Conflict, match="asks for something else"):
            await kernel.ask(submit("c", attrs.evolve(first, inputs=(other,))))
