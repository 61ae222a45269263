"""What `timbrel evaluate` runs."""
