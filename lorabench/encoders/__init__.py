"""Encoders: one file each, pictures (and for CLIP texts) -> vectors. Files that start with "_" are no encoders."""
