"""Backbones: networks between pixels and latent, one architecture per file."""
