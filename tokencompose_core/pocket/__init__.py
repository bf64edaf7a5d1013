"""The pocket world: scenes, captions and small models of the real architectures."""
