"""The tasks that a model is fine-tuned for: how each reads, encodes, predicts and scores posts."""
