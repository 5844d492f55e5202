"""Hold the programs: options in, one graph built and run, a report out."""
