"""Training of models with a quantization step: transform and scalar context model together, at all rates."""
