"""Grounded samples as WebDataset tar files."""
