"""Puts a recording on another instrument: spectrogram diffusion for music.

    import timbrel

    pipe = timbrel.load()                          # the shipped default, a shipped name, or a folder
    out = pipe("song.mp3", to="violin", seed=0)    # a path, or an array with sample_rate=
    out.save("song-violin.wav")

A name is imported when it is first used: `import timbrel` needs no torch. `__init__.pyi` lists the public names.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
