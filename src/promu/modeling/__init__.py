"""Encoders, fusions, the CRF, heads and losses; nothing here reads a corpus or knows a data set."""
