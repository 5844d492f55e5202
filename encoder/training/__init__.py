"""Train an encoder on labelled tasks. Nothing here is needed to encode."""
