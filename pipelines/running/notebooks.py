"""Run pipelines inside IPython and Jupyter as everywhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def hidden_from_beam() -> Iterator[None]:
    """Hide IPython from Beam while a pipeline is built and run.

    Inside IPython, Beam imports its interactive and DataFrame modules to put the number of the cell before each label. They
    need pandas, and Beam 2.77's fail with pandas 3.
    """
    from apache_beam import pipeline
    from apache_beam.utils import interactive_utils

    # Beam's DirectRunner has a name of its own for this function, and goes on to avoid Prism in notebooks.
    modules: tuple[Any, ...] = (pipeline, interactive_utils)
    before = [module.is_in_ipython for module in modules]
    for module in modules:
        module.is_in_ipython = lambda: False
    try:
        yield
    finally:
        for module, function in zip(modules, before, strict=True):
            module.is_in_ipython = function
