"""Named experiments as typed values: the only place where names become objects."""

from ._catalog import RECIPES as RECIPES
from ._parts import Baseline as Baseline
from ._parts import Parts as Parts
from ._recipe import Evidence as Evidence
from ._recipe import PolicyRecipe as PolicyRecipe
from ._recipe import Recipe as Recipe
from ._recipe import SupervisedRecipe as SupervisedRecipe
