"""Small environments in JAX."""
