"""Networks that read texts: their descriptions and their segments."""
