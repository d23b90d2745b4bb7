"""The catalog of recipes."""

from ._image_recipes import IMAGE_RECIPES
from ._policy_recipes import POLICY_RECIPES
from ._recipe import Recipe
from ._sinusoid_recipes import SINUSOID_RECIPES
from ._spelling import nearest

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (*SINUSOID_RECIPES, *IMAGE_RECIPES, *POLICY_RECIPES)
}
"""Every recipe by name."""


def nearest_recipe(name: str) -> str:
    """A hint that names the most similar recipes, after a space. Empty if none is similar."""
    near = nearest(name, RECIPES)
    return f" Did you mean {' or '.join(near)}?" if near else ""
