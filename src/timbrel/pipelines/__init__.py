"""The tasks that a user has for models: one class each, made from a system."""
