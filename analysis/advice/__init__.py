"""Where to cut, and whether to freeze or fine-tune: the report with its sections."""
