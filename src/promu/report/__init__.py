"""Reports as HTML pages: of the demo, of a pre-training run, of soft pseudo-labels; and their charts."""
