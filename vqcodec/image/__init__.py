"""Pictures in files and in memory: any Pillow image to 8-bit pixels with metadata, and back."""
