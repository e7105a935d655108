"""Second derivatives: exact, propagated or sampled."""
