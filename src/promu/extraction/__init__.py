"""A trained model put to work: text and image in, entities and relations out."""
