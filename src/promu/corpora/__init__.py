"""Published data sets: their formats, images, releases and checks, and the Parquet corpora of pre-training.

Readers are called `read_X(path, problems=None)`. A malformed record is appended to `problems` and skipped; without a
list the first one raises. `InputError` is raised in both cases where the file is missing, empty or holds no record.
Writers write the whole file or nothing, and raise `InputError` for a post that their format cannot hold.
"""
