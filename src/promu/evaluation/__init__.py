"""Scores as the literature counts them, and their summary over seeds."""
