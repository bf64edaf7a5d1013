"""Fine-tune a Stable Diffusion on grounded shards."""
