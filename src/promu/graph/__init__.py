"""What was extracted from many posts as one graph: entities merged, relations with their evidence."""
