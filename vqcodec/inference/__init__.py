"""Networks over whole pictures in bounded memory, window by window."""
