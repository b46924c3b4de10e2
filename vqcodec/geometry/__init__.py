"""Rectangles, tilings, and where the tokens of a picture lie."""
