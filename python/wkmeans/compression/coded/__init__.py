"""Modules whose weights stay codes in memory."""
