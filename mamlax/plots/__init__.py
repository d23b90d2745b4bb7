"""Figures from the files of a run. Nothing is computed here.

`draw_run` draws all figures of a run directory. `draw_comparison` draws the figure of
`mamlax compare`. Each other function draws one figure from a record of `mamlax.records`, and
returns a matplotlib figure.
"""

from ._adaptation import adaptation as adaptation
from ._adaptation import comparison as comparison
from ._examples import few_shot as few_shot
from ._examples import sinusoids as sinusoids
from ._learning import diagnostics as diagnostics
from ._learning import learning_curve as learning_curve
from ._learning import return_curves as return_curves
from ._locomotion import locomotion as locomotion
from ._policies import bandit as bandit
from ._policies import navigation as navigation
from ._run import draw_comparison as draw_comparison
from ._run import draw_report as draw_report
from ._run import draw_run as draw_run
from ._support import support_curve as support_curve
from ._support import support_sizes as support_sizes
