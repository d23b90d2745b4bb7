"""Running an `OuterLoop` to the end, independent of algorithms and data sets."""
