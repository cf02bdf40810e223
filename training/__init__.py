"""Training, export gates and calibration. Nothing imports this package; torch lives here."""
