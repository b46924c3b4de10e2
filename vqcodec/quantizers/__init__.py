"""From latent to index planes and back; one quantizer a file."""
