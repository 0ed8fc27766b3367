"""The functions of a session as the client knows them: each content has one number and is sent once."""

from __future__ import annotations

import hashlib
import threading
from types import BuiltinFunctionType, FunctionType
from weakref import WeakKeyDictionary

from hal_core.client.session_link import SessionLink
from hal_core.client.session_policy import Policy
from hal_core.client.task_codec import dumps


class Functions:
    """One for each link."""

    def __init__(self, link: SessionLink) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._numbers: dict[tuple[str, bytes, Policy], int] = {}
        self._seen: dict[tuple[str, Policy], WeakKeyDictionary[object, int]] = {}

    def number(self, kind: str, function: object, policy: Policy) -> int:
        """The function's number; its content is sent if it is new.

        A function is taken as it is when the session first sees it, with the globals and closures that it has then.
        """
        if (seen := self._seen.get((kind, policy))) is None:
            seen = self._seen[kind, policy] = WeakKeyDictionary()
        is_named = isinstance(function, FunctionType | BuiltinFunctionType)
        if is_named and (number := seen.get(function)) is not None:
            return number
        number = self._define(kind, dumps(function), policy)
        if is_named:
            seen[function] = number
        return number

    def _define(self, kind: str, body: bytes, policy: Policy) -> int:
        digest = hashlib.blake2b(body, digest_size=16).digest()
        key = (kind, digest, policy)
        with self._lock:
            if (number := self._numbers.get(key)) is None:
                number = self._link.define(kind, digest, body, policy)
                self._numbers[key] = number
        return number
