"""Retrieval: from files to ranked passages. Never imports ``assistant``."""
