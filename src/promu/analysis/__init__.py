"""What came out, for people to look at: tables, figures, the report."""
