"""Hold the programs that make encoders and heads."""
