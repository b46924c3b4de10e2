"""The trainer: recipes in, model folders out. Installed as `vqcodec.train`."""
