"""Who may do what: one table, role by verb, deny by default. Asked after the job was looked up, never before.

A right says whose jobs it covers: one's own, or anybody's. What is not in the table is forbidden.
"""

from __future__ import annotations

from enum import Enum

import attrs

from hal_core import errors
from hal_core.models.job import Owner
from hal_core.models.role import Role


class Verb(Enum):
    """What can be asked of HAL, as far as rights differ. The value completes "you may not ..."."""

    SUBMIT = "submit jobs"
    SEE_JOB = "see this job"
    SEE_PRIVATE = "see the script, command, directory and environment of this job"
    CONTROL_JOB = "cancel, hold, release or requeue this job"
    SUSPEND_JOB = "suspend or resume jobs"
    RELEASE_FOREIGN_HOLD = "release what an operator holds"
    LOWER_PRIORITY = "change the priority of this job"
    RAISE_PRIORITY = "raise a priority above 0"
    SEE_NODES = "see the nodes"
    CONTROL_NODE = "drain or resume nodes"
    RESERVE = "make or remove reservations"
    CONTROL_POOL = "stop or resume cloud pools"
    SEE_DATA = "see the datasets"
    ADD_DATA = "add datasets"
    CONTROL_DATA = "pin, unpin, evict or remove this dataset"
    SEE_HAL = "see how HAL is set up"
    SEE_REPORTS = "see reports of replays"
    SEE_ACCESS = "see who may come in"
    MAKE_TOKEN = "make tokens for others"  # noqa: S105  no password


class Whose(Enum):
    OWN = "own"
    ANY = "any"


RIGHTS: dict[tuple[Role, Verb], Whose] = {
    (Role.USER, Verb.SUBMIT): Whose.OWN,
    (Role.USER, Verb.SEE_JOB): Whose.ANY,
    (Role.USER, Verb.SEE_PRIVATE): Whose.OWN,
    (Role.USER, Verb.CONTROL_JOB): Whose.OWN,
    (Role.USER, Verb.LOWER_PRIORITY): Whose.OWN,
    (Role.USER, Verb.SEE_NODES): Whose.ANY,
    (Role.USER, Verb.SEE_DATA): Whose.ANY,
    (Role.USER, Verb.ADD_DATA): Whose.OWN,
    (Role.USER, Verb.CONTROL_DATA): Whose.OWN,
    (Role.USER, Verb.SEE_HAL): Whose.ANY,
    (Role.USER, Verb.MAKE_TOKEN): Whose.OWN,
    (Role.OPERATOR, Verb.SUBMIT): Whose.OWN,
    (Role.OPERATOR, Verb.SEE_JOB): Whose.ANY,
    (Role.OPERATOR, Verb.SEE_PRIVATE): Whose.OWN,
    (Role.OPERATOR, Verb.CONTROL_JOB): Whose.ANY,
    (Role.OPERATOR, Verb.SUSPEND_JOB): Whose.ANY,
    (Role.OPERATOR, Verb.RELEASE_FOREIGN_HOLD): Whose.ANY,
    (Role.OPERATOR, Verb.LOWER_PRIORITY): Whose.ANY,
    (Role.OPERATOR, Verb.RAISE_PRIORITY): Whose.ANY,
    (Role.OPERATOR, Verb.SEE_NODES): Whose.ANY,
    (Role.OPERATOR, Verb.CONTROL_NODE): Whose.ANY,
    (Role.OPERATOR, Verb.RESERVE): Whose.ANY,
    (Role.OPERATOR, Verb.SEE_DATA): Whose.ANY,
    (Role.OPERATOR, Verb.ADD_DATA): Whose.OWN,
    (Role.OPERATOR, Verb.CONTROL_DATA): Whose.ANY,
    (Role.OPERATOR, Verb.SEE_HAL): Whose.ANY,
    (Role.OPERATOR, Verb.SEE_ACCESS): Whose.ANY,
    (Role.OPERATOR, Verb.MAKE_TOKEN): Whose.OWN,
    (Role.ADMINISTRATOR, Verb.SUBMIT): Whose.OWN,
    (Role.ADMINISTRATOR, Verb.SEE_JOB): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.SEE_PRIVATE): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.CONTROL_JOB): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.SUSPEND_JOB): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.RELEASE_FOREIGN_HOLD): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.LOWER_PRIORITY): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.RAISE_PRIORITY): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.SEE_NODES): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.CONTROL_NODE): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.RESERVE): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.CONTROL_POOL): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.SEE_DATA): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.ADD_DATA): Whose.OWN,
    (Role.ADMINISTRATOR, Verb.CONTROL_DATA): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.SEE_HAL): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.SEE_REPORTS): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.SEE_ACCESS): Whose.ANY,
    (Role.ADMINISTRATOR, Verb.MAKE_TOKEN): Whose.OWN,
}


class Forbidden(errors.Refused):
    """The caller's role does not allow it."""


@attrs.frozen
class Caller:
    """Who is asking: from the connection's credentials, never from the request."""

    user: str
    uid: int
    gid: int
    role: Role
    is_local: bool = True
    """Identified by the kernel of this machine, not by a token."""

    @property
    def owner(self) -> Owner:
        return Owner(self.user, self.uid, self.gid)

    def may(self, verb: Verb, owner: Owner | None = None) -> bool:
        """Whether the caller has the right, on things of `owner` (None: on what belongs to nobody else)."""
        whose = RIGHTS.get((self.role, verb))
        return whose is Whose.ANY or (whose is Whose.OWN and (owner is None or owner.uid == self.uid))

    def insist(self, verb: Verb, owner: Owner | None = None) -> None:
        """Raise Forbidden unless the caller has the right."""
        if not self.may(verb, owner):
            of = f" of user {owner.user}" if owner is not None and owner.uid != self.uid else ""
            raise Forbidden(f"as {self.role.value} you may not {verb.value}{of}; ask an operator or administrator")
