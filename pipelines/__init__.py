"""The commands: each parses its options, builds and runs one graph, and prints a report."""
