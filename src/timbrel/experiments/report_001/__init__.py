"""Report 001 (Musical Style Transfer Using Latent Diffusion Models) computed anew, and what its outlook asks measured.

Its two stages are trained on rendered music by the package's own loop; then everything is measured on clips of scores
that training keeps for validation, played on two instruments each, so that every transfer has its true answer. What is
compared is one change to the recipe at a time, from nothing, by the same budget, beside the recipe with another seed.

    OUT/settings.json             what the rest was made with
    OUT/data/  clips/  runs/      training data; the clips; the models
    OUT/parts/*.json              each part's figures, kept once it is done
    OUT/figures/*.png  audio/*.flac   made by parts, too
    OUT/tables/*.csv  index.html  made of the parts
"""
