"""Two models trained on the spot, and a page in the browser to try them on.

What    meta-trains a network on sine waves and another on made-up characters (random strokes, so
        that nothing is downloaded), then serves both: set points, draw characters
Run     python examples/demo.py           (`make demo` also sets itself up; --smoke: does not serve)
Takes   about two and a half minutes on two processor cores, then until Ctrl-C
Expect  93 % on characters held out, and the address of a page
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

smoke = "--smoke" in sys.argv
folder = Path("runs/demo-smoke" if smoke else "runs/demo")
NUM_CHARACTERS, NUM_DRAWINGS = (40, 6) if smoke else (400, 12)
SIDE = 84  # pixels; they are made smaller when they are read


def mamlax_command(*words):
    """As on a command line: mamlax ..."""
    subprocess.run([sys.executable, "-m", "mamlax", *map(str, words)], check=True)


def stroke(corners):
    """A smooth line through some points, `[places, 2]`: Catmull and Rom's spline."""
    first, last = 2 * corners[0] - corners[1], 2 * corners[-1] - corners[-2]
    a, b, c, d = (
        np.concatenate([[first], corners, [last]])[i : len(corners) - 1 + i, None] for i in range(4)
    )
    t = np.linspace(0, 1, 12)[:, None]
    line = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3
    return line.reshape(-1, 2) / 2


def drawing(character, number):
    """A character is two to four strokes of its own; each drawing of it is a little different."""
    of_character = np.random.default_rng(character)
    rng = np.random.default_rng([character, number])
    angle, scale = rng.normal(0, 0.1), rng.uniform(0.85, 1.1, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    move, width = rng.uniform(-0.06, 0.06, 2), int(rng.integers(2, 5))
    image = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(image)
    for _ in range(of_character.integers(2, 5)):
        corners = of_character.uniform(-0.33, 0.33, (of_character.integers(2, 5), 2))
        corners = (corners + rng.normal(0, 0.025, corners.shape)) @ turn + move
        points = SIDE * (stroke(corners) + 0.5)
        pen.line([*map(tuple, points.tolist())], fill=0, width=width, joint="curve")
    return image


for character in range(NUM_CHARACTERS):
    of_class = folder / "characters" / f"character {character:03}"
    of_class.mkdir(parents=True, exist_ok=True)
    for number in range(NUM_DRAWINGS):
        drawing(character, number).save(of_class / f"{number}.png")

few = ("--num-outer-steps", 2, "--log-interval", 1, "--num-test-tasks", 2)
waves = (
    *("train", "sinusoid", "--num-devices", 1, "--validation-interval", "None"),
    *(few if smoke else ("--num-outer-steps", 15_000, "--num-test-tasks", 200)),
    *("--num-baseline-steps", 1 if smoke else 5_000, "--out", folder / "waves"),
)
characters = (
    *("train", "images", "--images", folder / "characters", "--image-size", 28, "--no-color"),
    *("--downsample", "stride", "--channels", 4 if smoke else 32, "--num-query", 3, "--rotations"),
    *("--inner-learning-rate", 0.4, "--num-inner-steps", 3, "--num-validation-inner-steps", 3),
    *("--num-test-inner-steps", 3, "--num-baseline-steps", 0, "--validation-interval", "None"),
    *(few if smoke else ("--num-outer-steps", 2_000, "--num-test-tasks", 200)),
    *("--num-devices", 1, "--out", folder / "drawings"),
)
# both at once, a core each; what the waves say goes to a file
folder.mkdir(parents=True, exist_ok=True)
with (folder / "waves.txt").open("w") as said:
    command = [sys.executable, "-m", "mamlax", *map(str, waves)]
    beside = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
    mamlax_command(*characters)
    if beside.wait():
        sys.exit(f"The waves were not trained; {said.name} says why.")
models = [folder / "waves.safetensors", folder / "characters.safetensors"]
mamlax_command("export", folder / "waves", "--with-pretrained", "--out", models[0])
mamlax_command("export", folder / "drawings", "--out", models[1])
if not smoke:  # in the place of this process, so that Ctrl-C ends it
    os.execv(sys.executable, [sys.executable, "-m", "mamlax", "serve", *map(str, models[::-1])])
