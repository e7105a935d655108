"""How a number of bytes is shared out among tensors."""
