"""An example of a package that adds to promu: a fusion, a teacher, a detector, a format and a task."""
