"""Whether AWS takes this instance back: notices of its metadata service, in version 2, which wants a token.

Amazon's user guide of EC2: "Spot Instance interruption notices" and "EC2 instance rebalance recommendations".
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import httpx

from hal_core import Notice, Options, Unavailable, structure_options

TOKEN_LIFE_S: Final = 21_600
TOKEN_SPARE_S: Final = 600
ANSWER_S_MAX: Final = 5.0
INTERRUPTION: Final = "/latest/meta-data/spot/instance-action"
REBALANCE: Final = "/latest/meta-data/events/recommendations/rebalance"


@attrs.frozen
class NoticeOptions:
    """`endpoint`: another address than that of every instance, for tests."""

    endpoint: str = "http://169.254.169.254"


class AwsNotices:
    """Asks when it is asked. No proxy of the environment: the address is this machine's own."""

    def __init__(self, options: NoticeOptions) -> None:
        self._endpoint = options.endpoint
        logging.getLogger("httpx").setLevel(logging.WARNING)  # It has a line for each question.
        self._token = ""
        self._token_until_s = 0.0

    @classmethod
    def from_options(cls, options: Options) -> AwsNotices:
        return cls(structure_options(NoticeOptions, options, "notices.aws"))

    async def look(self) -> Notice | None:
        """The more pressing of what is said. Raises Unavailable."""
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Not used: the default would read all authorities each time.
        where: dict[str, Any] = {"base_url": self._endpoint, "verify": bare}
        async with httpx.AsyncClient(**where, timeout=ANSWER_S_MAX, trust_env=False) as client:
            return await self._look(client)

    async def _look(self, client: httpx.AsyncClient) -> Notice | None:
        action = await self._ask(client, INTERRUPTION)
        if action is not None:
            what, at = action.get("action", "terminate"), str(action.get("time", ""))
            return Notice(_time_of(at), f"AWS takes this spot instance back ({what} at {at})")
        advice = await self._ask(client, REBALANCE)
        if advice is not None:
            at = advice.get("noticeTime", "")
            return Notice(None, f"AWS is likely to take this spot instance back (said at {at})")
        return None

    async def _ask(self, client: httpx.AsyncClient, path: str) -> dict[str, Any] | None:
        """None: there is nothing to say."""
        answer = await self._get(client, path)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self._token_until_s = 0.0
            answer = await self._get(client, path)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.status_code != httpx.codes.OK:
            raise Unavailable(f"the metadata service answers {path} with status {answer.status_code}")
        try:
            found = answer.json()
        except json.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise Unavailable(f"the metadata service answers {path} with what is no object")
        return found

    async def _get(self, client: httpx.AsyncClient, path: str) -> httpx.Response:
        try:
            if time.monotonic() >= self._token_until_s:
                life = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFE_S)}
                made = (await client.put("/latest/api/token", headers=life)).raise_for_status()
                self._token = made.text
                self._token_until_s = time.monotonic() + TOKEN_LIFE_S - TOKEN_SPARE_S
            return await client.get(path, headers={"X-aws-ec2-metadata-token": self._token})
        except httpx.HTTPError as error:
            raise Unavailable(f"the metadata service: {type(error).__name__}: {error}") from None


def _time_of(text: str) -> float:
    """Seconds since the epoch. Raises Unavailable for what is no time."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Unavailable(f"the metadata service names the time {text!r}") from None
