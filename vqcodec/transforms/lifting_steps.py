"""The 9/7 wavelet (Cohen, Daubechies and Feauveau 1992) in lifting steps (Daubechies and Sweldens 1998)."""

STEPS = (-1.586134342, -0.052980118, 0.882911075, 0.443506852)
"""Weight of the neighbours in each step: into the odd positions, the even, the odd, the even."""
SCALE = 1.149604398
"""Factor of the low band, and divisor of the high one: the transform is nearly orthonormal."""
REACH = 64
"""Most positions to each side that a value of LOW_LEVELS levels depends on: 4 for each level, 2**level apart."""
