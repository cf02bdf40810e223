"""Fits the confidence of answers on held-aside data: see ``python -m training.calibration``."""
