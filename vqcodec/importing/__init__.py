"""Import of published checkpoints as models; one family of releases in each file."""
