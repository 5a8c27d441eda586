"""Pictures: image files and their oddities, stores made of them, and crops."""
