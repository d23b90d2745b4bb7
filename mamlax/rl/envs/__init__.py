"""Environments in pure JAX."""
