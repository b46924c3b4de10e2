"""Encoders: picture to file. Decoders need nothing of this package."""
