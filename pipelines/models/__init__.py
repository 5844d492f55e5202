"""The commands that make encoders and heads."""
