"""Measure what the method is worth on labelled tasks: encoders, poolings, sizes of code, rivals, stability.

Run from a checkout by `make study` or `python -m study`; it writes `docs/results.md`. Knows nothing of Beam.
"""
