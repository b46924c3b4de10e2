"""Checkpoints that others published, as tensors of ours; one family a file."""
