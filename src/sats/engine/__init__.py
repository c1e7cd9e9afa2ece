"""The training loop and what it needs: optimizer, log, run folder, checkpoints."""
