"""Quantizers in training: start, revival and refit of codebooks, masks, perturbation."""
