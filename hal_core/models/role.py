"""Roles of people: what a caller may do follows from it (rest/rights.py has the table)."""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """A user's role from the configuration."""

    USER = "user"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"
