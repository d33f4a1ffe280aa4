"""A trained model behind HTTP: the API, and the page on which a person can try it."""
