"""Quantizers in training: codebooks in use, masks, perturbation."""
