"""Data sets: halves of them, cards of what they hold, and stores of their images."""
