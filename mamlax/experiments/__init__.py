"""From settings to runs: train a recipe, evaluate it, compare, plan, film and load it."""
