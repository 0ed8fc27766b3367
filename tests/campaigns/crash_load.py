"""The load of the crash campaign: clients that submit, cancel and requeue, and write down what was acknowledged.

The client's log is a file of its own, synced line by line: what stands there was promised, whatever happens to HAL.
A request that got no answer is sent again with the same client id until it has one.
"""

from __future__ import annotations

import http.client
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from tests.support.hal import ACTIVE, HalCluster
from tests.support.hal_connection import HalRefused, Json

SCRIPT: Final = """#!/bin/sh
key="$HAL_JOB_ID.${HAL_ARRAY_INDEX:-0}.$HAL_ATTEMPT.$HAL_NODE_NAME"
echo "begin $key" >> "$LEDGER"
sleep "$NAP"
echo "end $key" >> "$LEDGER"
"""
KINDS: Final = {"single": 60, "array": 15, "gang": 10, "cancelled": 8, "requeued": 7}
"""What is submitted, and how often."""
ELEMENTS: Final = {"array": 3}
OPTIONS: Final[dict[str, list[list[str]]]] = {"array": [["array", "0-2"]], "gang": [["nodes", "2"], ["spread", "node"]]}
ACTIVE_MAX: Final = 40
RETRY_S: Final = 0.05


@attrs.define
class ClientLog:
    """Lines of words; each is on disk when `write` returns."""

    path: Path
    _lock: threading.Lock = attrs.Factory(threading.Lock)

    def write(self, *words: object) -> None:
        with self._lock:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, " ".join(map(str, words)).encode() + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []


class Load:
    """Client threads, until `stop`."""

    def __init__(self, hal: HalCluster, log: ClientLog, seed: int, client_count: int = 2) -> None:
        self._hal = hal
        self._log = log
        self.ledger = hal.directory / "ledger"
        self.submitted_count = 0
        self.problems: list[str] = []
        self._is_stopping = threading.Event()
        names = [f"{seed}-{number}" for number in range(client_count)]
        self._threads = [threading.Thread(target=self._run, args=(name,), daemon=True) for name in names]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Every request that was begun is answered when this returns. The daemon must be up."""
        self._is_stopping.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client waits for ever"

    def _run(self, name: str) -> None:
        dice = random.Random(name)
        number = 0
        try:
            with self._hal.connect() as connection:
                while not self._is_stopping.is_set():
                    number += 1
                    kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
                    self._one(connection.request, f"{name}-{number}", kind, dice)
                    if number % 10 == 0:
                        self._wait_for_room(connection.request)
        except Exception as error:  # noqa: BLE001 - a thread must not die in silence
            self.problems.append(f"client {name}: {type(error).__name__}: {error}")

    def _one(self, request: Callable[..., Json], client_id: str, kind: str, dice: random.Random) -> None:
        body = self._body(client_id, kind, dice)
        self._log.write("send", client_id, kind)
        job_id = int(self._until_answered(request, "/v1/jobs", body)["job_id"])
        self._log.write("submitted", client_id, kind, job_id)
        self.submitted_count += 1
        if dice.random() < 0.05:  # A client that did not believe it.
            again = int(self._until_answered(request, "/v1/jobs", body)["job_id"])
            self._log.write("submitted", client_id, kind, again)
        verb = {"cancelled": "cancel", "requeued": "requeue"}.get(kind)
        if verb is not None:
            self._is_stopping.wait(dice.random() * 0.4)
            try:
                self._until_answered(request, f"/v1/jobs/{job_id}/{verb}", {})
            except HalRefused as error:
                if error.status != 409:  # It has ended already.
                    raise
            else:
                self._log.write(verb, client_id, kind, job_id)

    def _body(self, client_id: str, kind: str, dice: random.Random) -> Json:
        nap_s = dice.choice([0, 0, 0.05, 0.2, 0.5]) + (1 if kind in ("cancelled", "requeued") else 0)
        environment = ["PATH=/usr/bin:/bin", f"LEDGER={self.ledger}", f"NAP={nap_s}"]
        return {
            "client_id": client_id,
            "script": SCRIPT,
            "options": [["output", "/dev/null"], *OPTIONS.get(kind, [])],
            "working_directory": str(self._hal.work),
            "environment": environment,
        }

    def _until_answered(self, request: Callable[..., Json], target: str, body: Json) -> Json:
        while True:
            try:
                return request("POST", target, body)
            except (OSError, http.client.HTTPException):
                pass
            except HalRefused as error:
                if error.status != 503:
                    raise
            threading.Event().wait(RETRY_S)

    def _wait_for_room(self, request: Callable[..., Json]) -> None:
        """Not to pile up more than the machine can run."""
        while not self._is_stopping.is_set():
            try:
                counts = request("GET", "/v1/status")["jobs"]
                if sum(counts.get(state, 0) for state in ACTIVE) < ACTIVE_MAX:
                    return
            except (OSError, http.client.HTTPException, HalRefused):
                pass
            self._is_stopping.wait(RETRY_S)
