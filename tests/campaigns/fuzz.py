"""Fuzzing of everything that reads what others wrote: good examples, spoiled in many ways.

    python -m tests.campaigns.fuzz [--only hosts,script,...] [--seconds 10] [--seed N]

A reader may take an input or refuse it by its own kind of error; anything else is a bug, and so is a reader that needs
more than 100 ms of CPU time for one input, or 64 MiB for all of them. What breaks one is printed so that it can be
given to it again. The examples of a reader are its corpus: add what somebody finds.
"""

from __future__ import annotations

import io
import random
import resource
import secrets
import time
from collections.abc import Callable, Iterator

import attrs
import trio
import trio.testing

from hal_core.agent.launcher.fields import BadFrame, Order, pack, split_launch, take_frame
from hal_core.config.document import decode
from hal_core.config.reading import parse_configuration
from hal_core.errors import InvalidInput, Refused, WireError
from hal_core.models.job import Owner
from hal_core.models.node import Cluster, Node, NodeName, Partition, PartitionName
from hal_core.parsing.arrays import parse_array
from hal_core.parsing.context import ParseContext
from hal_core.parsing.dependencies import parse_dependencies
from hal_core.parsing.durations import parse_interval, parse_time_limit
from hal_core.parsing.hosts import parse_hosts
from hal_core.parsing.instants import parse_instant
from hal_core.parsing.memory import parse_memory
from hal_core.parsing.request import JobRequest, parse_job
from hal_core.parsing.resources import parse_generic, parse_gpus
from hal_core.rest.answers import HttpError
from hal_core.rest.http_head import HeadError, check_begin, check_head
from hal_core.rest.strict_json import read_body
from hal_core.rest.tokens import TokenMaker, Unauthenticated
from hal_core.sim.sacct import read_sacct
from hal_core.sim.swf import read_swf
from hal_core.wire import messages
from hal_core.wire.authority import JoinToken
from hal_core.wire.frames import FrameStream, encode
from tests.campaigns.common import Campaign, Figures, progress
from tests.support.small_configuration import SMALL

CPU_S_MAX = 0.1
MEMORY_BYTES_MAX = 64 << 20
REFUSAL_CHARACTERS_MAX = 1_000
BYTES_MAX = 20_000
"""Of one input: what is longer is refused by its length before it is read, which has tests of its own."""

NODE = Node(NodeName("n1"), 8, 1 << 35)
NODES = (NODE, attrs.evolve(NODE, name=NodeName("n2")))
MAIN = Partition(PartitionName("main"), tuple(node.name for node in NODES), True)
CONTEXT = ParseContext.of_cluster(Cluster("c", NODES, (MAIN,)), 1e9)
TOKENS = TokenMaker(bytes(32), "c", 3600.0, secrets.token_bytes)
TOKEN = TOKENS.issue(Owner("ada", 1, 1), 600, 1000.0).token
HEADS = (
    b"GET /v1/jobs?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5",
    b"GET / HTTP/1.1\r\nHost:" + b" " * 19_000 + b"x",
)
SCRIPT = b"""#!/bin/sh
#SBATCH --job-name="a b" -N 2 --time=1-2:3:4
#HAL --mem=4G --array=0-9:3%2 --output='%x-%j'
#SBATCH -d afterok:1:2 # why
srun hostname
"""
SACCT = b"""JobID|User|State|Submit|Start|End|Elapsed|Timelimit|AllocCPUS|NNodes|ReqMem
1|ada|COMPLETED|2024-01-01T00:00:00|2024-01-01T00:01:00|2024-01-01T00:02:00|00:01:00|1-00:00:00|4|1|4Gn
1.batch|ada|COMPLETED|2024-01-01T00:00:00|Unknown|Unknown|INVALID|UNLIMITED|4|1|4Gc
2_[1-5%2]|eve|CANCELLED by 1000|2024-01-01T00:00:00|None|2024-01-01T00:02:00|00:00:00|Partition_Limit|0|0|
"""
PROGRAM = b"1000 1000 inf 5 #!/bin/sh 2 /tmp true".split()
PART = b"1.0.1 - 1 0 1048576 0 /prolog - 1 PATH=/bin 60 1 /dev/null".split()
LAUNCH = pack([b"launch", b"1", b"%d" % len(PROGRAM), *PROGRAM, b"1", b"0", b"%d" % len(PART), *PART])
SYNTAX = (
    *(b"\0", b"\n", b"\r\n", b"\t", b" ", b"\x1b[31m", b"\x7f", b"\xff", b"\xed\xa0\x80", "\u202e٣".encode()),
    *b": , - % [ ] { } ( ) = ? + / \\ ' \" # * & | ; @ ! ~ ^ < > . .. // _ 0 -1 1e309 nan inf 0x10 null true".split(),
    *(b"9" * 20, b"9" * 5_000, b"&a [*a, *a]", b"!!python/object/apply:os.system [x]", b"#SBATCH ", b"#HAL "),
)
"""What means something to one reader or another."""


@attrs.frozen
class Target:
    """One reader: what it takes, and the errors by which it may refuse."""

    read: Callable[[bytes], object]
    corpus: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...] = (InvalidInput,)


def of_text(parse: Callable[[str], object], *corpus: str) -> Target:
    """A parser of texts, which come as UTF-8 with whatever else came along."""
    return Target(
        lambda data: parse(data.decode("utf-8", "surrogateescape")), tuple(example.encode() for example in corpus)
    )


def _script(data: bytes) -> object:
    request = JobRequest(script=data.decode("utf-8", "surrogateescape"), script_name="j", working_directory="/w")
    return parse_job(request, CONTEXT)


def _configuration(data: bytes) -> object:
    return parse_configuration(decode(data, "c.yaml"), "c.yaml")


def _launch(data: bytes) -> object:
    found = take_frame(bytearray(data))
    if found is None:
        return None
    if found.text() != "launch":
        return None
    return [Order(type(found)(fields)) for _, fields in split_launch(found)]


def _head(data: bytes) -> None:
    check_begin(data)
    check_head(data)


def _agent_frames(data: bytes) -> None:
    stream = trio.testing.MemoryReceiveStream()
    stream.put_data(data)
    stream.put_eof()
    frames = FrameStream(stream, messages.FROM_AGENT)  # type: ignore[arg-type]

    async def receive_all() -> None:
        while await frames.receive():
            pass

    trio.run(receive_all)


TARGETS = {
    "hosts": of_text(parse_hosts, "n[001-128,200]", "gpu[1-4]x[1-2],login", "a-b.c"),
    "time": of_text(parse_time_limit, "30", "1:30", "1-0", "1-2:3:4", "2h30m", "0"),
    "interval": of_text(parse_interval, "10s", "1h30m", "2d"),
    "instant": of_text(lambda text: parse_instant(text, 1e9), "now+1hour", "2002-01-02T03:04:05", "16:00", "tomorrow"),
    "memory": of_text(parse_memory, "4G", "512M", "2T", "1024"),
    "array": of_text(parse_array, "0-9:3%2", "1,3,5-7", "7"),
    "dependency": of_text(parse_dependencies, "afterok:1:2,after:3", "afterany:1?afternotok:2", "singleton"),
    "gpus": of_text(parse_gpus, "a100:4", "2"),
    "gres": of_text(parse_generic, "gpu:a100:2,licence:3", "fs:1"),
    "script": Target(_script, (SCRIPT,)),
    "configuration": Target(_configuration, (SMALL.encode(), b"users: {ada: operator}\n" + SMALL.encode())),
    "json": Target(
        lambda data: read_body(data, JobRequest),
        (b'{"client_id":"c","command":["x"],"options":[["nodes","1"]],"environment":["A=1"]}',),
        (InvalidInput, HttpError),
    ),
    "head": Target(_head, HEADS, (HeadError,)),
    "token": Target(lambda data: TOKENS.check(data.decode("latin-1"), 1000.0), (TOKEN.encode(),), (Unauthenticated,)),
    "join_token": Target(
        lambda data: JoinToken.parse(data.decode("utf-8", "surrogateescape")),
        (JoinToken("n1", "pem", "secret").text().encode(),),
        (Refused,),
    ),
    "agent": Target(
        _agent_frames,
        (encode(messages.Hello(1, NODE, "boot", 0)), encode(messages.Heartbeat(1.0)), encode(messages.Report(()))),
        (WireError,),
    ),
    "launch": Target(_launch, (LAUNCH, pack([b"stop"])), (BadFrame,)),
    "swf": Target(
        lambda data: read_swf(io.BytesIO(data)),
        (b"; MaxProcs: 8\n1 0 5 10 4 -1 -1 4 20 -1 1 1 1 1 1 -1 -1 -1\n2 1 -1 -1 1 1 1 1 1 1 0 1 1 1 1 1 1 1\n",),
    ),
    "sacct": Target(lambda data: read_sacct(io.BytesIO(data)), (SACCT,), (InvalidInput, Refused)),
}


def spoiled(corpus: tuple[bytes, ...], chance: random.Random) -> Iterator[bytes]:
    """Inputs without end: an example after some accidents."""
    while True:
        data = bytearray(chance.choice(corpus))
        for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
            _spoil(data, corpus, chance)
        yield bytes(data[:BYTES_MAX])


def _spoil(data: bytearray, corpus: tuple[bytes, ...], chance: random.Random) -> None:
    at = chance.randint(0, len(data))
    end = min(len(data), at + chance.choice((1, 1, 2, 5, 50)))
    match chance.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 1:
            data[at:at] = chance.choice(SYNTAX)
        case 2:
            del data[at:end]
        case 3:
            data[at:end] = data[at:end] * chance.choice((2, 3, 100, 5_000))
        case 4:
            other = chance.choice(corpus)
            data[at:] = other[chance.randint(0, len(other)) :]
        case 5:
            data[at:end] = chance.randbytes(end - at)
        case _:
            data[at:at] = str(chance.choice((0, 1, -1, 2**31, 2**63, 2**64, 10**30, chance.randrange(10**6)))).encode()


def verdict(target: Target, data: bytes) -> str:
    """What is wrong with how the reader took it; the empty string if nothing is."""
    took_s = CPU_S_MAX + 1.0
    for _ in range(3):  # a slow one must be slow each time
        begin_s = time.thread_time()
        try:
            target.read(data)
        except target.refusals as error:
            if wrong := _too_long(error):
                return wrong
        except Exception as error:  # noqa: BLE001  any other is what we look for
            return f"{type(error).__name__}: {error}"
        took_s = min(took_s, time.thread_time() - begin_s)
        if took_s <= CPU_S_MAX:
            return ""
    return f"took {took_s:.3f} s of CPU time"


def _too_long(error: Exception) -> str:
    """All mistakes are told at once, and each briefly."""
    texts = [problem.text for problem in error.problems] if isinstance(error, InvalidInput) else [str(error)]
    longest = max(texts, key=len)
    return f"refused with {len(longest)} characters" if not 0 < len(longest) <= REFUSAL_CHARACTERS_MAX else ""


def fuzz(name: str, seed: int, is_over: Callable[[int], bool]) -> tuple[int, list[str]]:
    """(how many inputs, what broke) of one reader."""
    target = TARGETS[name]
    chance = random.Random(f"{seed} {name}")
    count, problems = 0, []
    for data in spoiled(target.corpus, chance):
        if is_over(count) or len(problems) >= 3:
            break
        count += 1
        if wrong := verdict(target, data):
            problems.append(f"{name}: {wrong[:200]}: {data[:400]!r}")
    return count, problems


def measure(campaign: Campaign) -> Figures:
    figures: Figures = {}
    for name in campaign.given.only.split(",") if campaign.given.only else TARGETS:
        progress(name)
        before, end_s = _peak_bytes(), time.perf_counter() + campaign.given.seconds
        count, problems = fuzz(name, campaign.seed, lambda _, end_s=end_s: time.perf_counter() >= end_s)  # type: ignore[misc]
        campaign.problems += problems
        if (grown := _peak_bytes() - before) > MEMORY_BYTES_MAX:
            campaign.problems.append(f"{name}: needed {grown >> 20} MiB")
        figures[name] = count
    return figures


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    campaign = Campaign("fuzz", __doc__)
    campaign.parser.add_argument("--only", default="", help=f"of {','.join(TARGETS)}")
    campaign.parser.add_argument("--seconds", type=float, default=10.0, help="for each reader")
    campaign.main(measure)


if __name__ == "__main__":
    main()
