"""Find the mask of each noun phrase: boxes by Grounding DINO, masks by SAM-HQ."""
