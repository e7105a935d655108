"""Compression of a folder that holds one block of its model in memory at a time."""
