"""Where models are, and what identifies them."""
