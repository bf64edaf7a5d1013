"""See the cross-attention of a UNet while it runs."""
