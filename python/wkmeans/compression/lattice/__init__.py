"""Weights as integers on a lattice of one step a row and one a column, entropy-coded."""
