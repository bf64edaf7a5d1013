"""Pictures, charts and pages for people."""
