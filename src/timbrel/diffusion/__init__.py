"""Noise schedules, objectives and samplers over a callable; no audio, no files."""
