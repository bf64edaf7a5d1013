"""Tasks: they read files, call the core, and write files."""
