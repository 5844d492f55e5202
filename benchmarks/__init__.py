"""Measure what the README says, side by side with what a user would take instead."""
