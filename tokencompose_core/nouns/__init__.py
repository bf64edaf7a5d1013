"""Find the nouns of a caption and the tokens that spell them."""
