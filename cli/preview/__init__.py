"""`vqcodec preview`: the pictures that the prefixes of a file hold, from coarse to fine."""
