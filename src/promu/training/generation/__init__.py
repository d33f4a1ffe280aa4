"""KECPM's second stage: a text-to-text model trained to write quintuples, with knowledge in its prompt."""
