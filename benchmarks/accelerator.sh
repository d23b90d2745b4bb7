#!/bin/sh
# What a GPU or TPU is asked, in ten minutes: is it right, and how fast is it?
#
#     benchmarks/accelerator.sh [PYTHON]
#
# Needs a JAX that finds the accelerator. Writes benchmarks/results/speed_accelerator.json.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
"$python" -c 'import jax, sys; print(jax.devices()); sys.exit(jax.default_backend() == "cpu")' ||
    { echo "JAX finds no accelerator: install jax[cuda13] or jax[tpu] there." >&2; exit 1; }
"$python" -m pytest tests/test_accelerator.py -m slow -q -n 0
exec "$python" -m benchmarks.speed.accelerator
