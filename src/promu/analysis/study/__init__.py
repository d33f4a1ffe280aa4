"""The study's tables and figures, and the page that shows them."""
