"""`vqcodec eval`: models measured against other codecs."""
