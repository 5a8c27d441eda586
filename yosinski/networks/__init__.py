"""Networks as ordered, named segments: descriptions, names, and modules."""
