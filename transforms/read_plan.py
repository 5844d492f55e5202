"""Read a plan into a pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from transforms.filesystem import files
from transforms.layout import FileName
from transforms.unit import CodesFile, Unit


class ReadPlan(beam.PTransform):
    """Read the units of a plan into a pipeline and distribute them over the workers.

    The input is a pipeline. The outputs are two PCollections: `.uncoded`, `Unit` elements whose text must be read, and
    `.coded`, `CodesFile` elements: stored files of codes that lack labels.
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
    def process(self, unit: Unit) -> Iterator[Any]:
        if unit.files is None:
            yield unit
        for name in unit.files or ():
            yield beam.pvalue.TaggedOutput("coded", CodesFile(FileName.parsed(name), unit.tasks))
