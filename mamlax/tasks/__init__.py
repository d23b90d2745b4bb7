"""Where tasks come from: distributions with `sample(key) -> Task`, drawn on the device."""
