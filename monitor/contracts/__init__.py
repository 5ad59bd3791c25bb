"""What the world sees: alerts, dead letters and the bundle manifest, as pydantic models.

The JSON Schemas in `schemas/` are generated from these models by `monitor schemas`.
"""
