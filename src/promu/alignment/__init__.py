"""Candidates, prompts, regions and the label store: how a frozen teacher comes to soft pseudo-labels."""
