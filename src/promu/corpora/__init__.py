"""The published data formats, one module each: readers, writers and the check of a file or a set."""
