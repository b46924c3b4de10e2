"""Default effort of encoders."""

EFFORT = 6
"""Effort of encoders where none is given, 1..9; encoder/build.py has what each effort does."""
