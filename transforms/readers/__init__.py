"""Read shards of every format into record batches of texts and ids."""
