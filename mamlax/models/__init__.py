"""The paper's networks, in Equinox, with explicit normalization.

Models take a whole batch, because normalization may use all of it (mean and variance):

- `"batch"`: mean and variance of the batch itself, in training and in evaluation. Query examples
  are then normalized by one another. This is **transductive**, and it is what the paper does.
- `"support"`: mean and variance of the support set, also for the query. Not transductive. Call such
  a model with the support inputs as `reference`: `params(batch.inputs, batch.reference)`, with
  tasks from `FewShot(..., reference=True)`. Without a reference it raises, because the query alone
  would be transductive. A `reference` without examples means that the inputs are the support set
  itself, which saves a second pass.
- `"group"`: mean and variance within each example and group of channels. Not transductive. The
  number of groups is the largest that divides the width evenly into groups of at least 8 channels
  (64 channels: 8 groups of 8; 28: 2 of 14; 17: 1).
- `"layer"`: mean and variance within each example. Not transductive.
- `"none"`: no normalization.

After normalization a learned shift is added, but no learned scale, as in the paper's code. The
linear layer after the ReLU could absorb a positive scale (although inner steps would then have
other lengths). The shift adapts in the inner loop like every parameter; in the paper's code it is
only meta-learned.
"""

from ._conv4 import Conv4 as Conv4
from ._conv4 import conv4 as conv4
from ._convolution import convolve as convolve
from ._mlp import MLP as MLP
from ._mlp import mlp as mlp
from ._normalization import is_transductive as is_transductive
