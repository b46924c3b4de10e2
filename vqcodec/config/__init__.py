"""Configuration of a model: typed tables that config.json holds and recipes share."""
