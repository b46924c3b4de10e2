"""Models: folders, identities, loading; the bundled one is in the folder `photo`."""
