"""The catalog of recipes."""

import difflib

from ._image_recipes import IMAGE_RECIPES
from ._policy_recipes import POLICY_RECIPES
from ._recipe import Recipe
from ._sinusoid_recipes import SINUSOID_RECIPES

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (*SINUSOID_RECIPES, *IMAGE_RECIPES, *POLICY_RECIPES)
}
"""Every recipe by name."""


def nearest_recipe(name: str) -> str:
    """A hint that names the most similar recipe, with a leading space. Empty if none is similar."""
    near = [one for one in RECIPES if one.startswith(name) and len(name) > 2]
    near = near or difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.45)
    return f" Did you mean {near[0]}?" if near else ""
