"""Tokens drawn from models instead of taken from pictures."""
