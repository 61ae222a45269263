"""Scores and recordings to mel stores that training reads."""
