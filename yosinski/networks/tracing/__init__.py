"""Networks of others as segments: their operations traced or recorded, and cut."""
