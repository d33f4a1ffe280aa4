"""A text-to-text model that writes a post's quintuples, and the grammar that what it writes obeys."""
