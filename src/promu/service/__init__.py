"""A trained model behind HTTP: the API, and a page to try it on."""
