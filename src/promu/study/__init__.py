"""Every table and figure of the papers as a grid of small jobs, each run once; and the page that shows them."""
