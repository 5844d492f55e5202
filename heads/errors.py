"""Holds the one exception that heads raise for what a user can put right."""

from __future__ import annotations


class HeadError(ValueError):
    """Says what is wrong with a head, its files or its training data, and what to do about it."""
