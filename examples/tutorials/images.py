# %% [markdown]
# # A folder of images
#
# You have a few images of each of many classes. Later there are new classes, with two images each.
# The network learns from the old classes how to tell classes apart, and adapts to the new ones.
#
# This takes about a minute on a processor.

# %%
# In Colab or a fresh environment, first:
#   pip install 'mamlax[tabular]'
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

import mamlax

# %% [markdown]
# ## The folder
#
# One folder for each class, named as the class. Here 60 made-up signs are drawn, 10 times each.


# %%
def draw(sign, seed, path):
    """A sign is a polygon of its own; each drawing of it is turned, moved and sized a little."""
    corners = np.random.default_rng(sign).uniform(0.2, 1.0, 9)
    rng = np.random.default_rng([sign, seed])
    angles = np.linspace(0, 2 * np.pi, 9, endpoint=False) + rng.uniform(-0.15, 0.15)
    radii = 13 * corners * rng.uniform(0.85, 1.0)
    x, y = (radii * turn(angles) + 16 + rng.uniform(-2, 2) for turn in (np.cos, np.sin))
    image = Image.new("L", (32, 32), 255)
    ImageDraw.Draw(image).polygon([*zip(x.tolist(), y.tolist(), strict=True)], fill=30)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


for sign in range(60):
    for seed in range(10):
        draw(sign, seed, Path(f"signs/sign {sign}/{seed}.png"))

figure, axes = plt.subplots(3, 8, figsize=(8, 3.4))
for row, sign in zip(axes, range(3), strict=True):
    row[0].set_title(f"sign {sign}", fontsize="small", loc="left")
    for seed, axis in enumerate(row):
        axis.imshow(Image.open(f"signs/sign {sign}/{seed}.png"), cmap="gray")
        axis.axis("off")
plt.show()

# %% [markdown]
# ## Train, and keep the model as one file
#
# These are commands; in a notebook you may write `!mamlax train images ...`. Classes are split at
# random: most to learn from, some to be judged on. With `proto-maml` the model adapts to any number
# of classes. The settings are for a short training: for a real folder leave out `--channels` and
# all that follows, but `--out`.


# %%
def mamlax_command(*words):
    """As on a command line: mamlax ..."""
    done = subprocess.run(
        [sys.executable, "-m", "mamlax", *words], text=True, capture_output=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr


mamlax_command(
    *("train", "images", "proto-maml", "--images", "signs", "--image-size", "28", "--no-color"),
    *("--downsample", "stride", "--ways", "3", "--shots", "2", "--channels", "16"),
    *("--first-order", "--num-inner-steps", "1", "--num-outer-steps", "300"),
    *("--num-baseline-steps", "0", "--validation-interval", "None"),
    *("--num-test-tasks", "50", "--num-test-inner-steps", "1", "--out", "runs/signs"),
)
mamlax_command("export", "runs/signs", "--out", "signs.safetensors")

# %% [markdown]
# ## Adapt to new classes
#
# Four signs that nothing has seen: two drawings of each to adapt to, ten to classify.

# %%
for sign in (100, 101, 102, 103):
    for seed in range(12):
        folder = f"known/sign {sign}" if seed < 2 else f"new/sign {sign}"
        draw(sign, seed, Path(folder, f"{seed}.png"))

model = mamlax.load("signs.safetensors")
known, new = model.read("known"), model.read("new")
adapted = model.adapt(known.images, known.labels)
predicted = adapted.predict(new.images)
print(f"{np.mean(predicted == new.labels):.0%} of {len(predicted)} right")

# %% [markdown]
# Some of them, with the class that was predicted and its probability.

# %%
probabilities = adapted.predict_proba(new.images).max(axis=1)
figure, axes = plt.subplots(2, 6, figsize=(9, 3.6))
for index, axis in zip(range(0, len(predicted), 3), axes.flat, strict=False):
    axis.imshow(new.images[index].squeeze(), cmap="gray")
    right = predicted[index] == new.labels[index]
    words = f"{predicted[index]}\n{probabilities[index]:.0%}"
    axis.set_title(words, color="black" if right else "C3", fontsize="small")
    axis.axis("off")
plt.show()
