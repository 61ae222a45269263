"""Tables 5.1 and 5.2 of report 003, computed anew: cross-diffusion over forward steps and starts, in both directions.

The report judges each cell by the Fréchet audio distance alone. Here instrument accuracy and note F1 against the
source's score stand beside it, and rows whose quality is known: the source unchanged, the true answer (the source's
score on the wanted instrument), the same recordings dealt to the wrong sources, and what `timbrel transfer` does by
either method. Scores are those that no training heard (the validation split of `timbrel data synth`), libraries are
training's: as kind as the report.

    OUT/settings.json  clips.json   clips/content-guitar-000.flac ...    the clips, and what they are made with
    OUT/guitar-to-violin/  settings.json  rows/*.json  audio/*.ogg       each row of a table, kept once it is measured
    OUT/results.json  *.csv  *.png  tables.md  index.html                what came out
"""
