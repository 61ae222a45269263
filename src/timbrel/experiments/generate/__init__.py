"""Does a model make the sounds that it is asked for? (`timbrel evaluate generate`)

Of each class of a set of labelled sounds it makes some takes. They are judged as waveforms, beside real sounds of the
set and rows whose quality is known. The judge is trained on the training half of the set; what it says of held-out real
sounds stands beside. A mel store holds no waveforms: real sounds are mels that were inverted, as those that are made.

    OUT/settings.json  classifier.safetensors  rows/ROW/CLASS.json    what was measured so far
    OUT/takes/CLASS-1.flac  results.json  classes.csv                 what came out
"""
