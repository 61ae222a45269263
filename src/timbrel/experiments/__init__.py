"""What `timbrel evaluate` and `timbrel reproduce` run: a folder each, over one resumable run and one kind of page."""
