"""Compression that is measured: on examples that the choice of its settings did not see."""
