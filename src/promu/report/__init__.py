"""Pages for people to look at: the demo's report, the report of a run, a look at the labels."""
