"""Training of entropy models and of float models for sampling."""
