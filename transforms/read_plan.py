"""Bring a plan into a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from transforms.filesystem import files
from transforms.plan import Unit


class ReadPlan(beam.PTransform):
    """Bring a plan's units into a pipeline, spread over the workers.

    A pipeline goes in; out come two PCollections of `Unit`: `.uncoded`, whose text must be read, and `.coded`, whose
    codes are stored and only labels are missing.
    """

    def __init__(self, plan_path: str) -> None:
        super().__init__()
        self.plan_path = plan_path

    def expand(self, pipeline: beam.Pipeline) -> Any:
        return (
            pipeline
            | "PlanFile" >> beam.Create([self.plan_path])
            | "ReadUnits" >> beam.FlatMap(read_plan)
            | "SpreadUnits" >> beam.Reshuffle()
            | "Route" >> beam.ParDo(_Route()).with_outputs("coded", main="uncoded")
        )


def read_plan(path: str) -> Iterator[Unit]:
    """Read a plan file's units."""
    for line in files.read_bytes(path).decode().splitlines():
        yield Unit.from_json(line)


class _Route(beam.DoFn):
    def process(self, unit: Unit):
        yield unit if unit.coded_blocks is None else beam.pvalue.TaggedOutput("coded", unit)
