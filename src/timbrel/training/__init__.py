"""Recipes, stages and the one training loop."""
