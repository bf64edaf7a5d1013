"""Benchmarks: generate from prompts of several categories, detect, and count."""
