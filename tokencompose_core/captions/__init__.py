"""Choose among an image's captions with CLIP."""
