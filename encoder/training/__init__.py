"""Train an encoder on labelled tasks. Encoding needs none of these modules."""
