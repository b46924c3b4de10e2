"""`vqcodec batch`: a folder tree of pictures to .vqc files, or back."""
