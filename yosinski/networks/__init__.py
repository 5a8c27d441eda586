"""Networks as ordered, named segments: described, found by their names, and built."""
