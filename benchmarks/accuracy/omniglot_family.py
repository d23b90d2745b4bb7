"""Omniglot 5-way 1-shot by algorithm, each trained for minutes.

    .venv/bin/python -m benchmarks.accuracy.omniglot_family DATA RUNS      # 70 minutes on 2 cores

DATA holds omniglot/; RUNS gets a run directory for each algorithm, resumed if it is there. Writes
`results/omniglot-5-way-1-shot-family-<algorithm>.json`. The numbers of outer steps are what about
five minutes of 2 free cores were enough for in short trials; they are fixed, so that other work
does not matter. Settings were chosen by one trial of a few hundred outer steps each, or are the
paper's; for Reptile and iMAML by several, of up to 1,500.
"""

import argparse
import subprocess
import sys
from pathlib import Path

SETTINGS = {
    "maml": "--num-outer-steps 3300",
    "fomaml": "--num-outer-steps 4500 --inner-learning-rate 0.4 --head-scale 0.3",
    "proto-maml": "--num-outer-steps 3100 --inner-learning-rate 0.1",
    "meta-sgd": "--num-outer-steps 3600 --inner-learning-rate 0.5",
    "maml-plus-plus": "--num-outer-steps 1250 --inner-learning-rate 0.4 --num-inner-steps 3",
    "anil": "--num-outer-steps 3400 --num-inner-steps 5 --num-validation-inner-steps 5",
    "boil": "--num-outer-steps 3600 --inner-learning-rate 0.5",
    "meta-curvature": "--num-outer-steps 1800 --inner-learning-rate 0.5",
    "cavia": "--num-outer-steps 3200 --inner-learning-rate 10 --num-inner-steps 2",
    "reptile": "--num-outer-steps 7000 --meta-batch-size 4 --inner-learning-rate 0.5 "
    "--num-inner-steps 5 --train-shots 10 --inner-batch-size 10 "
    "--num-validation-inner-steps 10 --num-test-inner-steps 20",
    "imaml": "--num-outer-steps 1300 --meta-batch-size 16 --inner-learning-rate 0.4 "
    "--num-inner-steps 8 --proximal-strength 0.5 --damping 20 --head-scale 0.3 "
    "--num-validation-inner-steps 8",
    "unicorn-maml": "--num-outer-steps 3300",
}
SHARED = "--num-baseline-steps 0 --num-validation-tasks 200"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--note", default="")
    args = parser.parse_args()
    for algorithm in args.only:
        settings = SETTINGS[algorithm]
        interval = 100 if int(settings.split()[1]) < 1_000 else 500
        out = args.runs / algorithm
        command = f"train omniglot-5-way-1-shot {algorithm} {settings} {SHARED}"
        words = f"{command} --validation-interval {interval}".split()
        places = ["--data-dir", str(args.data), "--out", str(out)]
        subprocess.run([sys.executable, "-m", "mamlax", *words, *places], check=True)
        record = ["benchmarks.accuracy.record", str(out), "--note", args.note]
        name = f"omniglot-5-way-1-shot-family-{algorithm}"
        subprocess.run([sys.executable, "-m", *record, "--name", name], check=True)


if __name__ == "__main__":
    main()
