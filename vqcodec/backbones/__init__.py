"""Networks between pixels and latent; one architecture a file."""
