"""Tokens: index planes of a picture with size, alpha and metadata, as files and as arrays."""
