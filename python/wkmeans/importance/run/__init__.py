"""Runs over batches: sums, checkpoints, ranks, progress."""
