"""A content-addressed store of stage outputs on any fsspec file system."""
