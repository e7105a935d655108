"""Arrays of any kind in, the kernels of the memory that they are in, arrays out."""
