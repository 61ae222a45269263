"""Labelled sounds: an ontology, captions, sets of sounds and what training draws of them."""
