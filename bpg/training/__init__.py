"""Training loop, objective, optimizer, checkpoints."""
