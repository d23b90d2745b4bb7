"""Benchmarks of mamlax: run from the repository root, one line each in README.md."""
