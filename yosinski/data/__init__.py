"""Data sets: halves, cards (what is known without images) and stores (the images)."""
