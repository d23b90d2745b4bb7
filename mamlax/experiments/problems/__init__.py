"""From the settings of a problem to its tasks, its network, its loss and its metric."""
