"""Models behind an address: a page to try them on, and an HTTP interface."""
