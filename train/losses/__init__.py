"""Losses under `group/name`, apart from adversarial and alignment ones."""
