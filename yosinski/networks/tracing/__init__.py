"""Networks from libraries and files as segments: recording their operations, and cutting them."""
