"""The way into Slurm through slurmrestd: HTTP over a Unix socket or TCP, with a JSON web token or as a local user.

Which versions of the interface a slurmrestd serves is asked once, and again when it says that ours is gone. What the
JSON looks like is payload.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import httpx
import trio

from hal_core import members
from hal_plugin_slurm.payload import job_of, node_of, past_job_of, reservation_of, submit_body
from hal_plugin_slurm.pieces import read_all
from hal_plugin_slurm.reservations import ReservationReader
from hal_plugin_slurm.tokens import Token, Tokens
from hal_plugin_slurm.way import (
    SlurmJob,
    SlurmNode,
    SlurmRefused,
    SlurmReservation,
    SlurmSilent,
    SlurmUnanswered,
    Submission,
    Target,
)

VERSIONS: Final = range(36, 45)
"""Of `v0.0.N`: those whose payloads are known here."""
CONNECTIONS_MAX = 8
KEEPALIVE_S = 5.0
"""An idle connection is given up before the server may do it: a request on a dead one might have been taken."""
REFUSALS: Final = (range(2000, 5000), range(9000, 10000))
"""slurmctld's own errors, and those of reading a request; all others are of the way to it."""
NO_SUCH_JOB: Final = frozenset({2017, 2021})
"""Invalid job id; already done."""
NOTHING_FOUND: Final = 9003

Entry = TypeVar("Entry")


class Rest:
    """Implements way.Way. `tokens` None: slurmrestd knows us by the socket (rest_auth/local)."""

    def __init__(
        self,
        open_client: Callable[[], httpx.AsyncClient],
        tokens: Tokens | None,
        slurm_user: str = "slurm",
        programs: str = "",
    ) -> None:
        self._open_client = open_client
        self._client = open_client()
        self._tokens = tokens
        self._slurm_user = slurm_user
        self._programs = programs
        self._version: int | None = None
        self._has_accounting = True
        self._reservations = ReservationReader()

    @classmethod
    def connect(
        cls, address: str, tokens: Tokens | None, answer_timeout_s: float, slurm_user: str, programs: str = ""
    ) -> Rest:
        """`address` is `unix:/path` or `http://host:port`; `programs` is where jobs find Slurm's. Connects at the first
        request."""
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=KEEPALIVE_S)
        path = address.removeprefix("unix:") if address.startswith("unix:") else None

        def open_client() -> httpx.AsyncClient:
            return httpx.AsyncClient(
                base_url="http://slurmrestd" if path else address,
                transport=httpx.AsyncHTTPTransport(uds=path, limits=limits),
                timeout=httpx.Timeout(answer_timeout_s, connect=10.0),
                trust_env=False,
            )

        return cls(open_client, tokens, slurm_user, programs)

    async def submit(self, submission: Submission) -> int:
        token = await self._token()
        if token is not None and submission.user != token.user and token.user not in ("root", self._slurm_user):
            text = f"the token is {token.user}'s, with which no job of {submission.user} can be submitted: it takes one"
            raise SlurmRefused(f"{text} of root or of SlurmUser ({self._slurm_user})")
        body = submit_body(submission, await self._served_version(), self._programs)
        answer = await self._call("POST", "/slurm/{}/job/submit", token, submission.user, body)
        job_id = answer.get("job_id") or (answer.get("result") or {}).get("job_id")
        if not job_id:  # held jobs are answered with both an id and errors: the id decides
            raise _failure(answer, 200) or SlurmUnanswered("slurmrestd took a job and told no id")
        return int(job_id)

    async def jobs(self) -> Sequence[SlurmJob]:
        return await self._listing("/slurm/{}/jobs", job_of)

    async def history(self, names: Sequence[str], since_s: float) -> Sequence[SlurmJob] | None:
        wanted = set(names)
        try:
            past = await self._listing(f"/slurmdb/{{}}/jobs?start_time=uts{int(since_s)}", past_job_of)
        except SlurmRefused:  # served without slurmdbd
            return None
        return [job for job in past if job.name in wanted]

    async def cancel(self, targets: Sequence[Target]) -> None:
        words = [
            word
            for job_id, some in targets
            for word in ([str(job_id)] if some is None else [f"{job_id}_{index}" for index in members(some)])
        ]
        token, limiter = await self._token(), trio.CapacityLimiter(CONNECTIONS_MAX)
        failures: list[SlurmRefused | SlurmSilent] = []

        async def end(word: str) -> None:
            async with limiter:
                try:
                    await self._call("DELETE", f"/slurm/{{}}/job/{word}", token)
                except (SlurmRefused, SlurmSilent) as error:
                    failures.append(error)

        async with trio.open_nursery() as nursery:
            for word in words:
                nursery.start_soon(end, word)
        if failures:
            raise failures[0]

    async def nodes(self) -> Sequence[SlurmNode]:
        return await self._listing("/slurm/{}/nodes", node_of)

    async def reservations(self) -> Sequence[SlurmReservation]:
        entries = await self._listing("/slurm/{}/reservations", lambda entry: entry)
        return self._reservations.read_all(reservation_of, entries)

    async def aclose(self) -> None:
        """A later request opens new connections."""
        client, self._client = self._client, self._open_client()
        await client.aclose()

    async def _listing(self, path: str, read: Callable[[Any], Entry]) -> list[Entry]:
        """The entries that an answer has under the last word of the path."""
        answer = await self._call("GET", path, await self._token())
        key = path.rpartition("/")[2].partition("?")[0]
        if key not in answer and NOTHING_FOUND in _codes(answer):
            return []
        try:
            return await read_all(read, answer[key])
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise SlurmUnanswered(f"slurmrestd answered {path} with what is none: {error!r}") from None

    async def _token(self) -> Token | None:
        return None if self._tokens is None else await self._tokens.current()

    async def _served_version(self) -> int:
        if self._version is None:
            response = await self._send("GET", "/openapi/v3", _headers(await self._token()))
            served = {int(found) for found in re.findall(r"/v0\.0\.(\d+)\\?/", response.text)}
            known = served & set(VERSIONS)
            if response.status_code == httpx.codes.OK and served and not known:
                names = ", ".join(f"v0.0.{each}" for each in sorted(served))
                raise SlurmSilent(f"slurmrestd serves {names}; this bridge speaks v0.0.{VERSIONS[0]} to {VERSIONS[-1]}")
            if not known:
                raise SlurmSilent(f"slurmrestd does not say what it serves: HTTP {response.status_code}")
            self._version = max(known)
        return self._version

    async def _call(
        self, method: str, path: str, token: Token | None, user: str = "", json: Any = None
    ) -> dict[str, Any]:
        """One request; `{}` in the path stands for the version."""
        version = f"v0.0.{await self._served_version()}"
        response = await self._send(method, path.format(version), _headers(token, user), json)
        if response.status_code == httpx.codes.UNAUTHORIZED and self._tokens is not None:
            self._tokens.reject()
            raise SlurmSilent("slurmrestd refused the token")
        if response.status_code == httpx.codes.NOT_FOUND and not _does_explain(response):
            self._version = None  # another slurmrestd than before
            raise SlurmSilent(f"slurmrestd has no {path.format(version)} any more")
        try:
            answer = await trio.to_thread.run_sync(response.json)  # of thousands of jobs it takes a while
        except ValueError:
            text = f"slurmrestd answered HTTP {response.status_code} with {response.text[:100]!r}, which is no JSON"
            raise SlurmUnanswered(text) from None
        if not isinstance(answer, dict):
            raise SlurmUnanswered("slurmrestd answered with JSON that is no object")
        if response.status_code != httpx.codes.OK and (failure := _failure(answer, response.status_code)):
            raise failure
        return answer

    async def _send(self, method: str, path: str, headers: dict[str, str], json: Any = None) -> httpx.Response:
        try:
            return await self._client.request(method, path, headers=headers, json=json)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise SlurmSilent(f"cannot reach slurmrestd: {error or type(error).__name__}") from None
        except httpx.HTTPError as error:
            raise SlurmUnanswered(f"slurmrestd: {error or type(error).__name__}") from None


def _does_explain(response: httpx.Response) -> bool:
    """Newer ones (24.11) answer about a job that there is not with 404, too, and say so in JSON."""
    try:
        answer = response.json()
    except ValueError:
        return False
    return isinstance(answer, dict) and bool(_codes(answer))


def _headers(token: Token | None, user: str = "") -> dict[str, str]:
    if token is None:
        return {}
    return {"X-SLURM-USER-NAME": user or token.user, "X-SLURM-USER-TOKEN": token.text}


def _codes(answer: dict[str, Any]) -> list[int]:
    errors = [each for each in answer.get("errors") or () if isinstance(each, dict)]
    found = [each.get("error_code", each.get("error_number", each.get("errno", 0))) for each in errors]
    return [code for code in found if isinstance(code, int)]


def _failure(answer: dict[str, Any], status: int) -> SlurmRefused | SlurmSilent | None:
    """What the errors of an answer mean; None if it is as good as done."""
    errors = [each for each in answer.get("errors") or () if isinstance(each, dict)]
    codes = _codes(answer)
    if codes and all(code in NO_SUCH_JOB for code in codes):
        return None
    texts = dict.fromkeys(str(each.get("error") or each.get("description")) for each in errors)
    text = f"slurmrestd: {'; '.join(texts) or f'HTTP {status}'}"
    if any(code in family for code in codes for family in REFUSALS):
        return SlurmRefused(text)
    return SlurmUnanswered(text)
