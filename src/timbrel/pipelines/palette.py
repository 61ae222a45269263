"""The colours of one picture on another: the linear map of colours that gives it the other's mean and covariance, and
moves colours as little as such a map can (Monge and Kantorovich; Pitié and Kokaram 2007)."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timbrel.errors import InputError

SMALL = 1.0  # levels, squared: added to variances, so that a picture of one colour has a palette, too


@dataclass(frozen=True)
class Palette:
    """Mean [3] and covariance [3, 3] of a picture's colours, in levels of 255."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, levels: NDArray) -> Palette:
        """Of a picture [height, width, 3]."""
        colours = levels.reshape(-1, 3).astype(np.float64)
        return cls(colours.mean(0), np.cov(colours, rowvar=False) + SMALL * np.eye(3))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Palette:
        """Of a picture's file.

        Raises:
            InputError: it cannot be read as a picture.
        """
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as image:
                return cls.of(np.asarray(image.convert("RGB").resize((128, 128))))
        except (OSError, UnidentifiedImageError) as error:
            raise InputError(
                f"{os.fspath(path)} cannot be read as a picture ({error}); expected a PNG or JPEG"
            ) from error

    def put_on(self, levels: NDArray[np.float32]) -> NDArray[np.float32]:
        """A picture [height, width, 3], levels 0 to 255, in these colours."""
        own = Palette.of(levels)
        root = _power(own.covariance, 0.5)
        inverse = _power(own.covariance, -0.5)
        change = inverse @ _power(root @ self.covariance @ root, 0.5) @ inverse
        return ((levels - own.mean) @ change + self.mean).clip(0, 255).astype(np.float32)


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values.clip(1e-9) ** exponent) @ vectors.T
