"""Measure the method on labelled tasks: encoders, poolings, sizes of code, rivals, stability.

Run it from a checkout by `make study` or `python -m study`. It writes `docs/results.md` and does not use Beam.
"""
