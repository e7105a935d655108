"""The file: its layout, its codes, and what a reader refuses."""
