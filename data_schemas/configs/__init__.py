"""Configs: one frozen pydantic model per flow, which is the flow's parameter."""
