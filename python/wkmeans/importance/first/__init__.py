"""First derivatives of every example: seeds, rules and sums."""
