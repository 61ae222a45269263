"""Report 002 (Adapting Latent Diffusion Models from Images to Class-Conditioned Audio Generation) computed anew.

A generator over our codec and a network of convolutions over square pictures, as the report's is, are trained on the
same labelled sounds from nothing. Before and after, what they make of each class is compared with real sounds.

    OUT/settings.json             what the rest was made with
    OUT/data/  classifier.safetensors  runs/    training data; the judge; the models
    OUT/parts/*.json              each part's figures, kept once it is done
    OUT/figures/*.png  audio/*.flac   made by parts, too
    OUT/tables/*.csv  index.html  made of the parts
"""
