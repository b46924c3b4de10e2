"""Index planes of a picture with everything else that a file holds."""
