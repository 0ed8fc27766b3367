"""The fields of a row (models/packing.py): their width, and the largest amount in one."""

FIELD_BITS = 64
FIELD_MASK = (1 << FIELD_BITS) - 1
AMOUNT_MAX = (1 << FIELD_BITS - 2) - 1
"""Larger amounts are taken for this one; nothing has so much, and nothing can be given it."""
