"""Fixed transforms of pictures and coefficients: the 9/7 wavelet, quantization steps."""
