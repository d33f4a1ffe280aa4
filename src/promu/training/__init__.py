"""Pre-training and fine-tuning from recipes."""
