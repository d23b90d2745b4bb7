"""Grid worlds of XLand-MiniGrid, which are pure JAX functions."""
