"""One call each: what a user does with a model."""
