"""Files as every part of the package reads and writes them."""
