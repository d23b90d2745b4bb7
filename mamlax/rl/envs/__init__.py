"""Environments: in JAX, and of MuJoCo, gymnax, XLand-MiniGrid, Gymnasium and Meta-World."""
