"""Environments of gymnax: pure functions already."""
