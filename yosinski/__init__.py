"""At which layer to cut a trained network for transfer, and whether to freeze or fine-tune below the cut."""
