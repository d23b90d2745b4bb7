"""Task distributions: objects with `sample(key) -> Task`, which draws on the device."""
