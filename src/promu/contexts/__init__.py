"""Texts about posts from elsewhere: descriptions of images, passages of a corpus, explanations of a language model."""
