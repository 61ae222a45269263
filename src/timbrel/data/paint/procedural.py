"""Procedural pictures for the labels without paintings: families with composition, palette, texture and ornament.

Everything is drawn from a seed, so that no two pictures of a family are alike. They are drawn at twice the size.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from timbrel.errors import InputError

Rng = np.random.Generator
Colour = tuple[int, int, int]
SIDE = 256  # of the canvas
SIZE = 128  # of a picture


def draw_picture(family: str, seed: int) -> np.ndarray:
    """A picture of a family: uint8 [128, 128, 3].

    Raises:
        InputError: an unknown family.
    """
    if family not in FAMILIES:
        raise InputError(f"family {family!r} is unknown; expected one of {', '.join(FAMILIES)}")
    rng = np.random.default_rng((seed, *family.encode()))
    canvas = FAMILIES[family](rng)
    small = np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BOX), np.float32)
    light = 1 + 0.12 * (_cloud(rng, SIZE, 3) - 0.5) + rng.normal(0, rng.uniform(0.01, 0.04), (SIZE, SIZE))
    tint = rng.uniform(0.92, 1.05, 3)
    return np.clip(small * light[..., None] * tint, 0, 255).astype(np.uint8)


def _colour(rng: Rng, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """Drawn within ranges of 0-1."""
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value))
    return round(255 * red), round(255 * green), round(255 * blue)


def _darker(colour: Colour, share: float) -> Colour:
    return tuple(int(share * c) for c in colour)  # type: ignore[return-value]


def _pick(rng: Rng, options: Sequence[Colour]) -> Colour:
    return options[int(rng.integers(len(options)))]


def _canvas(colour: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (SIDE, SIDE), colour)
    return image, ImageDraw.Draw(image)


def _cloud(rng: Rng, size: int, octaves: int, first: int = 3) -> np.ndarray:
    """Smooth noise [size, size] in [0, 1]."""
    out = np.zeros((size, size), np.float32)
    for k in range(octaves):
        cells = rng.random((first * 2**k, first * 2**k), dtype=np.float32)
        out += np.asarray(Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC)) / 2**k
    return (out - out.min()) / max(float(np.ptp(out)), 1e-6)


def _ramp(values: np.ndarray, colours: Sequence[Colour]) -> Image.Image:
    """Values in [0, 1] as colours, from the first to the last."""
    at = np.linspace(0, 1, len(colours))
    channels = [np.interp(values, at, [colour[k] for colour in colours]) for k in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def _circle(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour, stretch: float = 1.0) -> None:
    pen.ellipse((x - radius, y - radius * stretch, x + radius, y + radius * stretch), fill=colour)


def _glow(image: Image.Image, radius: float) -> Image.Image:
    """The image with light around what is bright."""
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32)
    return Image.fromarray(np.clip(np.asarray(image, np.float32) + 1.2 * soft, 0, 255).astype(np.uint8))


def _icon(rng: Rng) -> Image.Image:
    """Saints with halos on gold ground."""
    gold = _colour(rng, (0.1, 0.14), (0.6, 0.85), (0.65, 0.9))
    image = _ramp(_cloud(rng, SIDE, 5, 6), [_darker(gold, 0.75), gold])
    pen = ImageDraw.Draw(image)
    robes = [_colour(rng, hue, (0.6, 0.9), (0.3, 0.7)) for hue in ((0.58, 0.66), (0.97, 1.03), (0.3, 0.42))]
    count, ground = int(rng.choice([1, 1, 2, 3, 5])), rng.uniform(235, 256)
    for k in rng.permutation(count):
        x = SIDE * (k + 0.5 + 0.1 * rng.standard_normal()) / count
        height = rng.uniform(0.75, 0.95) * ground if count == 1 else rng.uniform(0.5, 0.85) * ground
        head = rng.uniform(0.09, 0.13) * height
        top, robe, other = ground - height + 2 * head, _pick(rng, robes), _pick(rng, robes)
        width = rng.uniform(1.8, 2.8) * head
        _circle(pen, x, top, 2.0 * head, _darker(gold, 0.55))
        _circle(pen, x, top, 1.85 * head, (250, 215, 110))
        shoulders = [(x - width, SIDE), (x - width, top + 3 * head), (x, top + 0.6 * head), (x + width, top + 3 * head)]
        pen.polygon([*shoulders, (x + width, SIDE)], fill=robe)
        pen.polygon([(x, top + head), (x - width / 2, SIDE), (x + width / 2, SIDE)], fill=other)
        _circle(pen, x, top, 1.15 * head, robe, 1.25)
        _circle(pen, x, top + 0.1 * head, 0.8 * head, _colour(rng, (0.05, 0.08), (0.35, 0.5), (0.6, 0.85)), 1.25)
    if rng.random() < 0.6:
        frame = int(rng.integers(6, 22))
        pen.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=_pick(rng, robes), width=frame)
        pen.rectangle((frame, frame, SIDE - frame, SIDE - frame), outline=_darker(gold, 0.5), width=2)
    return image


def _palace(rng: Rng) -> Image.Image:
    """Arches before a sky, over a floor of tiles in perspective."""
    wall = _colour(rng, (0.02, 0.12), (0.2, 0.55), (0.6, 0.9))
    sky = _colour(rng, (0.52, 0.62), (0.3, 0.6), (0.7, 0.95))
    image, pen = _canvas(wall)
    horizon, vanish = rng.uniform(120, 175), rng.uniform(60, 196)
    count, gap = int(rng.integers(2, 6)), rng.uniform(0.55, 0.8)
    top = rng.uniform(25, 60)
    for k in range(count):
        x, half = SIDE * (k + 0.5) / count, gap * SIDE / count / 2
        pen.rectangle((x - half, top + half, x + half, horizon), fill=sky)
        pen.pieslice((x - half, top, x + half, top + 2 * half), 180, 360, fill=sky)
        hill = _colour(rng, (0.25, 0.38), (0.3, 0.6), (0.3, 0.55))
        pen.rectangle((x - half, horizon - rng.uniform(5, 40), x + half, horizon), fill=hill)
        pen.arc((x - half - 4, top - 4, x + half + 4, top + 2 * half), 180, 360, fill=_darker(wall, 0.6), width=4)
    pen.rectangle((0, top - 18, SIDE, top - 12), fill=_darker(wall, 0.6))
    tiles = [_colour(rng, (0.0, 0.1), (0.1, 0.7), value) for value in ((0.75, 0.95), (0.25, 0.5))]
    rows, columns = int(rng.integers(5, 9)), int(rng.integers(6, 12))
    ys = horizon + (SIDE - horizon) * (np.arange(rows + 1) / rows) ** 1.8
    for r in range(rows):
        shares = [(y - horizon) / (SIDE - horizon) for y in ys[r : r + 2]]
        for c in range(-columns, 2 * columns):
            edges = [
                (vanish + (SIDE * k / columns - vanish) * (0.25 + 0.75 * s), y)
                for s, y, k in zip(
                    (shares[0], shares[0], shares[1], shares[1]),
                    (ys[r], ys[r], ys[r + 1], ys[r + 1]),
                    (c, c + 1, c + 1, c),
                    strict=True,
                )
            ]
            pen.polygon(edges, fill=tiles[(r + c) % 2])
    for _ in range(int(rng.integers(0, 4))):
        x, tall = rng.uniform(20, 236), rng.uniform(35, 70)
        foot = horizon + rng.uniform(10, 60)
        dress = _colour(rng, (0, 1), (0.6, 0.9), (0.3, 0.7))
        pen.polygon([(x - tall / 5, foot), (x, foot - tall), (x + tall / 5, foot)], fill=dress)
        _circle(pen, x, foot - tall, tall / 10, (215, 170, 135))
    return image


def _window(rng: Rng) -> Image.Image:
    """Stained glass, in a rose or a pointed window."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    glass = [_colour(rng, hue, (0.75, 1), (0.45, 1)) for hue in ((0.58, 0.68), (0.97, 1.02), (0.1, 0.15), (0.3, 0.4))]
    rose = rng.random() < 0.5
    if rose:
        cx, cy = rng.uniform(110, 146, 2)
        radius, angle = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
        petals, rings, wide = int(rng.choice([6, 8, 10, 12, 16])), int(rng.integers(3, 6)), rng.uniform(95, 125)
        around = petals * (angle / (2 * np.pi) + rng.random())
        outward = rings * radius / wide + rng.uniform(0.1, 0.3) * np.cos(2 * np.pi * around)
        cell = np.floor(outward).astype(int) * 7 + np.floor(around).astype(int) % int(rng.integers(1, 4))
        edge = np.minimum(
            np.abs(outward - np.round(outward)) * wide / rings,
            np.abs(around - np.round(around)) * 2 * np.pi * np.maximum(radius, 8) / petals,
        )
        inside = outward < rings
    else:
        count = int(rng.integers(25, 80))
        points = rng.uniform(0, SIDE, (count, 2))
        points[:, 0] = np.where(rng.random(count) < 0.5, points[:, 0], SIDE - points[:, 0])
        distance = np.sqrt((x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2)
        nearest = np.partition(distance, 1, axis=-1)
        cell, edge = distance.argmin(-1), nearest[..., 1] - nearest[..., 0]
        lancets = int(rng.integers(1, 4))
        across = (x * lancets / SIDE) % 1
        inside = (np.abs(across - 0.5) < 0.44) & (y > 20 + 100 / lancets * (2 * np.abs(across - 0.5)) ** 2)
    colours = np.array([_pick(rng, glass) for _ in range(100)])[cell % 100]
    shine = 0.6 + 0.6 * _cloud(rng, SIDE, 4, 4)
    lead = (edge < rng.uniform(2, 4)) | ~inside
    picture = np.where(
        lead[..., None], np.array(_colour(rng, (0, 1), (0, 0.3), (0.05, 0.15))), colours * shine[..., None]
    )
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _abstraction(rng: Rng) -> Image.Image:
    """Squares and lines, circles and beams, tilted shapes, or fields of colour."""
    kind = int(rng.integers(4))
    bright = [_colour(rng, hue, (0.7, 1), (0.6, 1)) for hue in ((0, 0.03), (0.13, 0.16), (0.58, 0.64))]
    paper = _colour(rng, (0.08, 0.15), (0.02, 0.15), (0.85, 0.97))
    image, pen = _canvas(paper)
    if kind == 0:
        xs, ys = (np.sort(np.r_[0, rng.integers(20, 236, int(rng.integers(2, 5))), SIDE]) for _ in "xy")
        line = int(rng.integers(4, 11))
        for left, right in pairwise(xs):
            for top, low in pairwise(ys):
                fill = _pick(rng, bright) if rng.random() < 0.4 else paper
                pen.rectangle((left, top, right, low), fill=fill, outline=(15, 15, 18), width=line // 2 + 1)
    elif kind in (1, 2):
        for _ in range(int(rng.integers(8, 22))):
            x, y, size = *rng.uniform(0, SIDE, 2), rng.exponential(28) + 6
            colour = _pick(rng, [*bright, (20, 20, 25), _colour(rng, (0, 1), (0.3, 0.9), (0.4, 0.9))])
            turn, long = rng.uniform(0, np.pi), size * rng.uniform(1, 4)
            along = np.array([np.cos(turn), np.sin(turn)])
            if kind == 1 and rng.random() < 0.5:
                _circle(pen, x, y, size, colour)
                _circle(pen, x, y, 0.6 * size, _pick(rng, bright))
            elif kind == 1:
                ends = [x - long * along[0], y - long * along[1], x + long * along[0], y + long * along[1]]
                pen.line(ends, fill=colour, width=int(rng.integers(2, 6)))
            else:
                side = np.array([-along[1], along[0]]) * size * rng.uniform(0.2, 0.8)
                centre = np.array([x, y])
                corners = [centre + a * size * along + b * side for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
                pen.polygon([tuple(c) for c in corners], fill=colour)
    else:
        hue = rng.random()
        pen.rectangle((0, 0, SIDE, SIDE), fill=_colour(rng, (hue, hue + 0.1), (0.5, 0.9), (0.2, 0.6)))
        cuts = np.sort(rng.uniform(20, 236, int(rng.integers(1, 3))))
        for top, low in zip(np.r_[10, cuts + 6], np.r_[cuts - 6, 246], strict=True):
            pen.rectangle((14, top, 242, max(low, top)), fill=_colour(rng, (hue - 0.2, hue + 0.3), (0.6, 1), (0.5, 1)))
        image = image.filter(ImageFilter.GaussianBlur(5))
    return image


def _embroidery(rng: Rng) -> Image.Image:
    """Stitches of a pattern that mirrors itself, with flowers and borders."""
    cells = int(rng.choice([32, 42, 64]))
    light = rng.random() < 0.6
    cloth = (
        _colour(rng, (0.08, 0.14), (0.02, 0.15), (0.88, 0.98))
        if light
        else _colour(rng, (0.6, 0.7), (0.3, 0.6), (0.08, 0.2))
    )
    threads = [_colour(rng, (0.96, 1.02), (0.8, 1), (0.55, 0.85)), _colour(rng, (0, 1), (0.6, 0.9), (0.3, 0.8))]
    half = cells // 2
    y, x = np.mgrid[0:half, 0:half]
    pattern = np.zeros((half, half), int)
    for _ in range(int(rng.integers(2, 5))):
        cx, cy, size = rng.integers(0, half), rng.integers(0, half), rng.uniform(2, half / 2.5)
        dx, dy = np.abs(x - cx), np.abs(y - cy)
        shape = [dx + dy, np.maximum(dx, dy), np.hypot(dx, dy) * (1 + 0.4 * np.cos(4 * np.arctan2(dy, dx)))][
            int(rng.integers(3))
        ]
        pattern[(shape < size) & (shape.astype(int) % int(rng.integers(2, 4)) != 1)] = int(rng.integers(1, 3))
    wave = np.abs((y + rng.integers(0, 8)) % 8 - 4) == np.abs((x + rng.integers(0, 8)) % 8 - 4)
    pattern[wave & (np.maximum(x, y) % half < rng.integers(0, half))] = 1
    whole = np.block([[pattern, pattern[:, ::-1]], [pattern[::-1], pattern[::-1, ::-1]]])
    picture = np.array([cloth, *threads])[whole]
    big = np.asarray(
        Image.fromarray(picture.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.NEAREST), np.float32
    )
    v, u = np.mgrid[0:SIDE, 0:SIDE] * cells / SIDE % 1
    stitch = 0.8 + 0.25 * np.maximum(1 - 4 * np.abs(u - v), 1 - 4 * np.abs(u + v - 1)).clip(0, 1)
    return Image.fromarray(np.clip(big * stitch[..., None], 0, 255).astype(np.uint8))


def _ink(rng: Rng) -> Image.Image:
    """Mountains in mist, in ink on paper, with a red sun, birds and a branch."""
    paper = np.array(_colour(rng, (0.09, 0.14), (0.1, 0.3), (0.82, 0.95)), np.float32)
    ink = np.array(_colour(rng, (0.5, 0.65), (0.1, 0.6), (0.1, 0.35)), np.float32)
    picture = np.broadcast_to(paper, (SIDE, SIDE, 3)).copy() * (0.94 + 0.08 * _cloud(rng, SIDE, 5)[..., None])
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    if rng.random() < 0.7:
        sun = np.hypot(x - rng.uniform(30, 226), y - rng.uniform(30, 100)) < rng.uniform(12, 34)
        picture[sun] = _colour(rng, (0.98, 1.03), (0.6, 0.9), (0.7, 0.9))
    layers = int(rng.integers(2, 6))
    for k in range(layers):
        ridge = _cloud(rng, SIDE, 6, int(rng.integers(2, 5)))[0]
        top = SIDE * (0.25 + 0.6 * (k + 0.3) / layers) - rng.uniform(30, 110) * (ridge - 0.4)
        depth = (y - top) / rng.uniform(50, 130)
        strength = np.where(depth > 0, np.exp(-np.maximum(depth, 0) * 1.5), 0) * (0.35 + 0.65 * (k + 1) / layers)
        picture += strength[..., None] * (ink - picture)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    pen, dark = ImageDraw.Draw(image), (25, 22, 25)
    for _ in range(int(rng.choice([0, 0, 4, 7]))):
        bx, by, wing = rng.uniform(20, 236), rng.uniform(20, 130), rng.uniform(4, 9)
        pen.line([(bx - wing, by - wing / 2), (bx, by), (bx + wing, by - wing / 2)], fill=dark, width=2)
    if rng.random() < 0.5:
        side = int(rng.choice([0, SIDE]))
        at = np.array([side, rng.uniform(10, 150)])
        for k in range(14):
            to = at + np.array([(8 if side == 0 else -8) * rng.uniform(0.8, 1.8), rng.normal(0, 9)])
            pen.line([tuple(at), tuple(to)], fill=dark, width=max(1, 7 - k // 2))
            blossom = _colour(rng, (0.93, 1.0), (0.3, 0.7), (0.8, 1))
            for _ in range(int(rng.integers(0, 4))):
                _circle(pen, to[0] + rng.normal(0, 9), to[1] + rng.normal(0, 9), rng.uniform(2, 5), blossom)
            at = to
    return image


def _quilt(rng: Rng) -> Image.Image:
    """Blocks of triangles that turn, or a blanket of stripes and zigzags."""
    cloths = [
        _colour(rng, hue, (0.4, 0.85), (0.35, 0.9)) for hue in ((0.97, 1.04), (0.07, 0.13), (0.5, 0.62), (0.4, 0.5))
    ]
    cloths.append(_colour(rng, (0.08, 0.14), (0.05, 0.25), (0.85, 0.97)))
    order = [cloths[k] for k in rng.permutation(len(cloths))]
    image, pen = _canvas(order[0])
    if rng.random() < 0.55:
        count, flips = int(rng.choice([4, 6, 8])), rng.integers(0, 4, (4, 4))
        picks = rng.integers(0, 4, (4, 4))
        step = SIDE / count
        for r in range(count):
            for c in range(count):
                m, n = min(r, count - 1 - r) % 4, min(c, count - 1 - c) % 4
                turn = (int(flips[m, n]) + (c >= count / 2) + 2 * (r >= count / 2)) % 4
                left, top = c * step, r * step
                corners = [(left, top), (left + step, top), (left + step, top + step), (left, top + step)]
                pen.polygon(corners, fill=order[int(picks[m, n]) % 4 + 1])
                pen.polygon([corners[(turn + k) % 4] for k in range(3)], fill=order[int(picks[m, n])])
    else:
        top = 0.0
        while top < SIDE:
            high, kind, colour = rng.uniform(6, 36), rng.integers(3), _pick(rng, order)
            pen.rectangle((0, top, SIDE, top + high), fill=_pick(rng, order))
            teeth = int(rng.choice([6, 8, 12]))
            for k in range(teeth if kind else 0):
                left, wide = k * SIDE / teeth, SIDE / teeth
                middle = (left + wide / 2, top + high / 2)
                diamond = [
                    (left + wide / 2, top),
                    (left + wide, middle[1]),
                    (left + wide / 2, top + high),
                    (left, middle[1]),
                ]
                pen.polygon(
                    diamond if kind == 1 else [(left, top + high), diamond[0], (left + wide, top + high)], fill=colour
                )
            top += high
    return image


def _mask(rng: Rng) -> Image.Image:
    """A carved face on cloth of earth colours, or the cloth alone."""
    earths = [_colour(rng, (0.02, 0.12), (0.5, 0.95), value) for value in ((0.15, 0.3), (0.4, 0.6), (0.7, 0.95))]
    image, pen = _canvas(_pick(rng, earths))
    step = float(rng.choice([21.4, 32, 42.7]))
    accent = _colour(rng, (0.2, 0.4), (0.5, 0.9), (0.2, 0.5)) if rng.random() < 0.5 else earths[2]
    kinds = rng.integers(0, 4, 12)
    for r in range(int(SIDE / step) + 1):
        for c in range(int(SIDE / step) + 1):
            x, y, colour = c * step, r * step, (earths[0], earths[2], accent)[(r + c * int(kinds[11])) % 3]
            kind = kinds[r % 11] if kinds[10] < 2 else kinds[(r + c) % 11]
            if kind == 0:
                pen.polygon([(x, y + step), (x + step / 2, y), (x + step, y + step)], fill=colour)
            elif kind == 1:
                pen.line([(x, y), (x + step / 2, y + step), (x + step, y)], fill=colour, width=4)
            elif kind == 2:
                _circle(pen, x + step / 2, y + step / 2, step / 4, colour)
            else:
                pen.rectangle((x + 2, y + step / 3, x + step - 2, y + step * 2 / 3), fill=colour)
    if rng.random() < 0.75:
        x, y, wide = SIDE / 2 + rng.normal(0, 6), SIDE / 2 + rng.normal(0, 6), rng.uniform(48, 80)
        long, wood, dark = rng.uniform(1.25, 1.6), _colour(rng, (0.03, 0.09), (0.5, 0.8), (0.25, 0.6)), (25, 15, 10)
        _circle(pen, x, y, wide + 5, dark, long)
        _circle(pen, x, y, wide, wood, long)
        eye, gap, up = rng.uniform(8, 16), wide * rng.uniform(0.38, 0.5), rng.uniform(5, 25)
        for side in (-1, 1):
            _circle(pen, x + side * gap, y - up, eye * 1.35, earths[2], 0.6)
            _circle(pen, x + side * gap, y - up, eye, dark, 0.45)
            for k in range(int(rng.integers(0, 4))):
                pen.line(
                    [(x + side * gap - 12, y + 18 + 9 * k), (x + side * gap + 12, y + 18 + 9 * k)], fill=accent, width=4
                )
        nose = rng.uniform(8, 14)
        pen.polygon([(x, y - up - 6), (x - nose, y + 30), (x + nose, y + 30)], fill=_darker(wood, 0.6))
        _circle(pen, x, y + wide * long * 0.6, rng.uniform(10, 22), dark, rng.uniform(0.4, 1))
        for k in range(int(rng.integers(0, 5))):
            pen.arc(
                (x - 20 - 9 * k, y - wide * long + 8, x + 20 + 9 * k, y - up - 18), 200, 340, fill=earths[2], width=3
            )
    return image


def _pop(rng: Rng) -> Image.Image:
    """Flat bright colours with dots, rays, records and thick outlines."""
    hue = rng.random()
    colours = [_colour(rng, (hue + k / 4, hue + k / 4 + 0.08), (0.75, 1), (0.85, 1)) for k in range(4)]
    image, pen = _canvas(colours[0])
    black, centre = (12, 12, 16), rng.uniform(70, 186, 2)
    if rng.random() < 0.6:
        rays, turn = int(rng.integers(8, 20)), rng.random()
        for k in range(rays):
            angles = [2 * np.pi * (k + turn + d) / rays for d in (0, 0.5)]
            pen.polygon(
                [tuple(centre), *(tuple(centre + 400 * np.array([np.cos(a), np.sin(a)])) for a in angles)],
                fill=colours[1],
            )
    pitch, downwards = float(rng.choice([10, 13, 16])), rng.random() < 0.5
    for r in range(int(SIDE / pitch) + 1):
        for c in range(int(SIDE / pitch) + 1):
            x, y = (c + r % 2 / 2) * pitch, r * pitch
            radius = pitch * 0.55 * (y / SIDE if downwards else max(0.0, 1 - x / SIDE))
            _circle(pen, x, y, radius, colours[2])
    for _ in range(int(rng.integers(1, 4))):
        x, y, size = *rng.uniform(60, 196, 2), rng.uniform(28, 75)
        kind, fill = int(rng.integers(3)), _pick(rng, colours[2:])
        if kind == 0:  # a record
            _circle(pen, x, y, size, black)
            for k in range(3):
                ring = size * (0.9 - 0.18 * k)
                pen.ellipse((x - ring, y - ring, x + ring, y + ring), outline=(60, 60, 66), width=2)
            _circle(pen, x, y, 0.36 * size, fill)
            _circle(pen, x, y, 0.06 * size, black)
        elif kind == 1:  # a star that bursts
            spikes = int(rng.integers(7, 13))
            radii = np.where(np.arange(2 * spikes) % 2, 0.6 * size, 1.15 * size)
            turns = np.pi * np.arange(2 * spikes) / spikes
            star = [(x + r * np.cos(a), y + r * np.sin(a)) for r, a in zip(radii, turns, strict=True)]
            pen.polygon(star, fill=fill, outline=black, width=5)
        else:  # a note
            _circle(pen, x - 0.4 * size, y + 0.6 * size, 0.32 * size, black, 0.75)
            pen.line([(x - 0.12 * size, y + 0.6 * size), (x - 0.12 * size, y - size)], fill=black, width=7)
            pen.line([(x - 0.12 * size, y - size), (x + 0.5 * size, y - 0.5 * size)], fill=black, width=9)
    if rng.random() < 0.4:
        pen.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=black, width=8)
    return image


def _neon(rng: Rng) -> Image.Image:
    """Light lines in the dark: a grid to the horizon, waves, bars, a striped sun, broken rows."""
    hue = rng.uniform(0.5, 0.95)
    image = _ramp(
        np.broadcast_to(np.linspace(0, 1, SIDE)[:, None], (SIDE, SIDE)),
        [_colour(rng, (hue - 0.1, hue), (0.7, 1), (0.02, 0.12)), _colour(rng, (hue, hue + 0.1), (0.7, 1), (0.1, 0.35))],
    )
    pen = ImageDraw.Draw(image)
    lights = [_colour(rng, (hue + d, hue + d + 0.06), (0.6, 1), (0.85, 1)) for d in (-0.35, 0.0, 0.2)]
    kinds, horizon = set(rng.choice(4, int(rng.integers(1, 4)), replace=False).tolist()), rng.uniform(120, 170)
    if 0 in kinds:
        x, radius = rng.uniform(80, 176), rng.uniform(30, 62)
        _circle(pen, x, horizon - radius * 0.6, radius, lights[2])
        for k in range(6):
            pen.rectangle((0, horizon - 8 * k - 4, SIDE, horizon - 8 * k - 4 + k // 2), fill=(8, 4, 20))
        pen.rectangle((0, horizon, SIDE, SIDE), fill=(10, 4, 26))
        for k in range(-14, 15):
            pen.line([(SIDE / 2 + 9 * k, horizon), (SIDE / 2 + 60 * k, SIDE)], fill=lights[0], width=2)
        for k in range(8):
            y = horizon + (SIDE - horizon) * (k / 8) ** 2
            pen.line([(0, y), (SIDE, y)], fill=lights[0], width=2)
    if 1 in kinds:
        xs = np.arange(0, SIDE + 1, 3)
        for k in range(int(rng.integers(2, 6))):
            wave = sum(
                rng.uniform(5, 26) * np.sin(xs * rng.uniform(0.02, 0.12) + 6.28 * rng.random()) for _ in range(2)
            )
            pen.line(
                list(zip(xs.tolist(), (rng.uniform(50, 200) + wave).tolist(), strict=True)), fill=lights[k % 3], width=3
            )
    if 2 in kinds:
        count = int(rng.choice([10, 16, 24]))
        tall = SIDE * (0.1 + 0.75 * _cloud(rng, count, 3)[count // 2])
        for k, high in enumerate(tall):
            left = k * SIDE / count
            for level in np.arange(0, high, 10):
                fill = lights[0] if level < 90 else lights[1] if level < 160 else lights[2]
                pen.rectangle((left + 2, SIDE - level - 8, left + SIDE / count - 2, SIDE - level - 2), fill=fill)
    if 3 in kinds:
        for _ in range(int(rng.integers(4, 16))):
            x, y, wide = rng.uniform(0, 256), rng.uniform(0, 256), rng.uniform(10, 110)
            pen.rectangle((x, y, x + wide, y + rng.uniform(2, 12)), fill=_pick(rng, lights))
        for _ in range(int(rng.integers(1, 5))):
            turn, size, sides = rng.random(), rng.uniform(20, 80), int(rng.choice([3, 4, 6]))
            x, y = rng.uniform(50, 206, 2)
            pen.regular_polygon((x, y, size), sides, rotation=360 * turn, outline=_pick(rng, lights), width=4)
    return _glow(image, rng.uniform(3, 8))


def _fire(rng: Rng) -> Image.Image:
    """Flames or a storm in the dark, spires, lightning, a skull."""
    y, _ = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    hot = [
        (6, 4, 6),
        _colour(rng, (0.98, 1.03), (0.9, 1), (0.25, 0.5)),
        _colour(rng, (0.03, 0.08), (0.9, 1), (0.85, 1)),
        (255, 235, 150),
    ]
    cold = [
        (4, 5, 8),
        _colour(rng, (0.55, 0.75), (0.4, 0.8), (0.15, 0.3)),
        _colour(rng, (0.55, 0.7), (0.2, 0.5), (0.5, 0.8)),
    ]
    flames = rng.random() < 0.65
    cloud = _cloud(rng, SIDE, 6, 4)
    heat = (
        (cloud * 1.1 + rng.uniform(0.6, 1.1) * (y - rng.uniform(0.4, 0.7))) if flames else cloud * rng.uniform(0.5, 0.9)
    )
    image = _ramp(np.clip(heat, 0, 1) ** 1.4, hot if flames else cold)
    pen, black = ImageDraw.Draw(image), (5, 4, 5)
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(3, 12))):
            x, wide, tall = rng.uniform(0, SIDE), rng.uniform(5, 26), rng.uniform(40, 170)
            pen.polygon([(x - wide, SIDE), (x, SIDE - tall), (x + wide, SIDE)], fill=black)
    if rng.random() < (0.3 if flames else 0.8):
        for _ in range(int(rng.integers(1, 3))):
            at, points = np.array([rng.uniform(40, 216), 0.0]), []
            while at[1] < 210:
                points.append(tuple(at))
                at = at + np.array([rng.normal(0, 15), rng.uniform(8, 26)])
            pen.line(points, fill=(235, 235, 255), width=int(rng.integers(2, 5)))
    if rng.random() < 0.45:
        x, s, bone = rng.uniform(100, 156), rng.uniform(36, 62), _colour(rng, (0.08, 0.14), (0.05, 0.3), (0.55, 0.9))
        y0 = rng.uniform(90, 140)
        _circle(pen, x, y0, s, bone, 1.05)
        pen.rectangle((x - 0.55 * s, y0 + 0.5 * s, x + 0.55 * s, y0 + 1.45 * s), fill=bone)
        for side in (-1, 1):
            _circle(pen, x + side * 0.42 * s, y0 + 0.1 * s, 0.27 * s, black)
        pen.polygon([(x, y0 + 0.35 * s), (x - 0.14 * s, y0 + 0.7 * s), (x + 0.14 * s, y0 + 0.7 * s)], fill=black)
        for k in range(-2, 3):
            pen.line([(x + 0.2 * s * k, y0 + s), (x + 0.2 * s * k, y0 + 1.45 * s)], fill=black, width=3)
    return image


FAMILIES: dict[str, Callable[[Rng], Image.Image]] = {
    "icon": _icon,
    "palace": _palace,
    "window": _window,
    "abstraction": _abstraction,
    "embroidery": _embroidery,
    "ink": _ink,
    "quilt": _quilt,
    "mask": _mask,
    "pop": _pop,
    "neon": _neon,
    "fire": _fire,
}
