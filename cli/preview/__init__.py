"""`vqcodec preview`: a file from coarse to fine."""
