"""Training pictures and crops."""
