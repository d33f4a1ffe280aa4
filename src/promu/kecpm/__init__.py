"""KECPM: background knowledge from a language model, and a model that writes quintuples under a grammar."""
