"""Choose images and their candidate captions."""
