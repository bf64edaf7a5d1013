"""Losses, each one function named after its paper's term."""
