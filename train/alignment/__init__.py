"""Alignment of latents with frozen vision transformers."""
