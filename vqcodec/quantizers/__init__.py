"""Quantizers: latent to index planes and back, one quantizer per file."""
