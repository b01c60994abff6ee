"""The lake: Delta tables in a folder as the store."""
