"""Run the transformer: load its weights, and the forward passes for packed, variable-length and padded batches."""
