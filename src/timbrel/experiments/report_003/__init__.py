"""Tables 5.1 and 5.2 of report 003, computed anew: cross-diffusion over forward steps and starts, in both directions.

The report judges each cell by the Fréchet audio distance alone. Here instrument accuracy and note F1 against the
source's score stand beside it, and rows whose quality is known: the source unchanged, the true answer (the source's
score on the target instrument), the same recordings dealt to the wrong sources, and `timbrel transfer` by either
method. Scores are those that no training heard (the validation split of `timbrel data synth`). Libraries are those of
the training, which is as easy as the report's test.

    OUT/settings.json  clips.json   clips/content-guitar-000.flac ...    the clips, and what they are made with
    OUT/guitar-to-violin/  settings.json  rows/*.json  audio/*.ogg       each row of a table, kept once it is measured
    OUT/results.json  *.csv  *.png  tables.md  index.html                what came out
"""
