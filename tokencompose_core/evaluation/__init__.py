"""MultiGen: generate from prompts of many categories, detect, and count."""
