"""Lossless coding of index planes: entropy models with integer frequencies, and the rANS coder."""
