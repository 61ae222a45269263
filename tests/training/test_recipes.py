"""Recipes: what cannot be is refused where it is made."""

import dataclasses

import pytest

from timbrel.errors import InputError
from timbrel.training.recipes import AUTOENCODER_RECIPES, TRANSFER_RECIPES, TransferRecipe, find_recipe


def test_a_recipe_is_found_by_name_and_changed_by_field():
    recipe = find_recipe(TRANSFER_RECIPES, "tiny", steps=3)
    assert recipe == dataclasses.replace(TRANSFER_RECIPES["tiny"], steps=3)
    with pytest.raises(InputError, match="'tinny' is unknown; expected one of default, report, tiny"):
        find_recipe(TRANSFER_RECIPES, "tinny")
    with pytest.raises(InputError, match=r"'tiny' has no stepps; fields: .*steps"):
        find_recipe(TRANSFER_RECIPES, "tiny", stepps=3)


def test_a_recipe_says_how_mels_are_varied():
    assert dataclasses.asdict(TransferRecipe())["augmentation"]["blend_probability"] == 0.3


@pytest.mark.parametrize(
    ("recipes", "name", "change", "said"),
    [
        (TRANSFER_RECIPES, "default", {"precision": "fp8"}, "precision is 'fp8'; expected 'bf16' or 'fp32'"),
        (AUTOENCODER_RECIPES, "default", {"batch_size": 0}, "batch_size is 0; expected more than 0"),
        (AUTOENCODER_RECIPES, "report", {"kl_weight": -0.5}, "kl_weight is -0.5; expected 0"),
        (TRANSFER_RECIPES, "report", {"style_weight": -1.0}, "style_weight is -1; expected 0"),
        (TRANSFER_RECIPES, "report", {"noise_levels": 0}, "noise_levels is 0; expected 1 or more"),
    ],
)
def test_impossible_values_are_refused(recipes, name, change, said):
    with pytest.raises(InputError, match=said):
        find_recipe(recipes, name, **change)
