"""Environments: in JAX, and of MuJoCo, gymnax, Gymnasium and Meta-World."""
