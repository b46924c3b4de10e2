"""Starting points of a run: weights from pictures, pretrained networks or other models."""
