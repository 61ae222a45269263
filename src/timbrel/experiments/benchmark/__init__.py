"""How good is a transfer? 240 times the true answer is known, and this measures how far from it an output is.

A *triplet* is a content (a passage of a score on instrument A), a style (another passage on B) and a target (the
content's score on B), all rendered by a sample library that training never hears. `cases.build` renders them into a
folder; `evaluate` measures a model, or another program's outputs, beside the `rows` that say what the figures mean:
doing nothing, another piece, the truth through the mel spectrogram, transcribing and rendering, and other sample
libraries. `measures` has the columns. `beyond` changes the sources, or asks for other instruments.
"""
