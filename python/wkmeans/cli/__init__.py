"""The command `wkmeans`."""

from wkmeans.cli.parser import main

__all__ = ["main"]
