"""Captions and images whose nouns were masked elsewhere."""
