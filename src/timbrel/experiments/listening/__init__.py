"""A listening test after ITU-R BS.1534-3 (MUSHRA): what ears say of systems on the benchmark's triplets.

`build` writes a page that works without a server, from a disk, and a key that says which sound is which. `answers`
turns the files that listeners save into means with intervals.
"""
