"""The exception that `heads` raises for what a user can correct."""

from __future__ import annotations


class HeadError(ValueError):
    """A fault in a head, its files or its training data, and what to do about it."""
