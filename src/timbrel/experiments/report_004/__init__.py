"""Report 004 (A Multimodal Visual Language Model for Musical Encoding) computed anew.

Pictures are painted from held-out music of each label, by the model that ships and by two that are trained as the
report's two experiments. They are measured as the report does, beside rows that it lacks.

    OUT/settings.json             what the rest was made with
    OUT/data/                     the music-picture set, where none was given
    OUT/music/*.flac              held-out music; of other kinds in outside/
    OUT/pictures/ROW/*.png        what was painted    runs/  the models
    OUT/parts/*.json              each part's figures, kept once it is done
    OUT/figures/*.png  tables/*.csv  index.html  made of the parts
"""
