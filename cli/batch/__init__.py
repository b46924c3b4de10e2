"""`vqcodec batch`: trees of pictures."""
