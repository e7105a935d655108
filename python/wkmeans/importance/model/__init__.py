"""A user's model, its batches and its calls, made functional."""
