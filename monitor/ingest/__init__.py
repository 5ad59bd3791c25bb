"""Bytes become vectors: one codec a file, each turning what it cannot read into rejects."""
