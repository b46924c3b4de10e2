"""The `vqcodec` command. Installed as `vqcodec.cli`."""
