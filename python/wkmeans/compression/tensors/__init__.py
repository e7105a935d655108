"""One compressed tensor, and what becomes of it in a module."""
