"""Extractions from many posts as one graph: merged entities, and relations with their evidence."""
