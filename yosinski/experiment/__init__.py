"""What is trained: runs with their treatments, recipes and costs. No torch."""
