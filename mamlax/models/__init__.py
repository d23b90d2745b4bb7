"""The paper's networks, in Equinox, with normalization made explicit.

Models take a whole batch, because normalization may look across it:

- `"batch"`: moments of the batch itself, in training and in evaluation. Query examples are then
  normalized by one another: this is **transductive**, and it is what the paper does.
- `"support"`: moments of the support set, for the query too. Not transductive. Such a model is
  called with the support inputs as `reference`: `params(batch.inputs, batch.reference)`, with tasks
  from `FewShot(..., reference=True)`. Without one it raises: the query alone would be transductive.
  A `reference` of no examples means that the inputs are the support set itself, which saves a
  second pass.
- `"group"`: moments within each example and group of channels. Not transductive. As many groups as
  divide the width evenly, at most one for every 8 channels (64 channels: 8 groups of 8; 28: 2 of
  14; 17: 1).
- `"layer"`: moments within each example. Not transductive.
- `"none"`.

After normalization a learned shift is added, but no learned scale, as in the paper's code: the
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
