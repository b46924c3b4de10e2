"""Adversarial training: discriminators, their losses and augmentation."""
