"""Running an `OuterLoop` to the end: knows no algorithm and no data set."""
