"""Losses, and the seeds that stand for them."""
