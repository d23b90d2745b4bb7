"""Functions of JAX as ONNX files, which run in browsers and in programs of any language.

ONNX's operations are fewer than JAX's. What it lacks is put together from those it has; loops of a
known number of turns are unrolled, and systems of equations are solved by an unrolled Cholesky
factorization. Sizes may be symbols of `jax.export`, for any number of rows.
"""

from ._program import write_program as write_program
