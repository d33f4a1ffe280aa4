"""A trained model put to work: text and picture in, entities and relations out."""
