"""For people with data: fit a table, adapt to a new task, predict, save."""
