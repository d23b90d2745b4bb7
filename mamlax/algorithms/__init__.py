"""Pure mathematics: what to differentiate, and how. Knows no data set, no file and no clock."""
