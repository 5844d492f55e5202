"""Benchmarks of encode-once beside the alternatives that a user has, for the figures of the README and the docs."""
