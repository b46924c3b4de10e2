"""Picture to file; nothing here is needed by decoders."""
