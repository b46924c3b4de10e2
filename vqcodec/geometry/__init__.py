"""Rectangles, tilings and the layout of the tokens of a picture."""
