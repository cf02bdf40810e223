"""From raw files to clean, split, leak-free rows. Imports no torch."""
