"""The study: every table and figure as a grid of small jobs, each done once and shared."""
