"""Environments of gymnax, which are pure JAX functions."""
