"""Default effort of encoders, and the efforts that are one."""

EFFORT = 6
"""Effort of encoders where none is given, 1..9; encoder/build.py has what each effort does."""
ONE_PASS = 5
"""Highest effort without latent refinement; all efforts up to it make the same files."""


def same_files(effort: int) -> int:
    """The highest effort that makes the same files as `effort` 1..9."""
    return max(effort, ONE_PASS)
