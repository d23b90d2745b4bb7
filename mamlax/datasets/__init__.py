"""Images from disk: archives, folders, downloads and caches."""
