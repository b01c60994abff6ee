"""What was measured: the vocabulary, the edges, the storage. Imports nothing of `rules` and `pipelines`."""
