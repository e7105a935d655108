"""Whole importance matrices: of each layer, the second moments of what it multiplies."""
