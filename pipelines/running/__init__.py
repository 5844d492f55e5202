"""Run a pipeline on an engine: Beam's options, local workers, signals, notebooks."""
