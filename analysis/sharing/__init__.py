"""Where tasks share one network and where inputs meet: contrasts over n, their figure, and what follows from them."""
