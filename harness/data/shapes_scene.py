"""One picture of the `shapes` dataset: pixels, mask and objects as a pure function of (seed, index).

Everything is integer arithmetic on the raw stream of PCG64, so that every machine draws the same picture.

What makes the pictures behave like photographs for weak supervision:

- every class has a body (an outline, a leaning to some colours) and, near one end of it, an emblem with
  colours and a pattern of its own. The emblem alone tells the class, so class activation maps light up there
  first and seeds are partial;
- a body has one colour that stands out from what is behind it, so that following image edges recovers it;
- every class has a favourite background, which it shares with another class, so that background is a
  tempting and partly wrong cue;
- clutter in emblem colours belongs to no class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.palette import IGNORE

Ints = NDArray[np.int64]
Inside = NDArray[np.bool_]
Box = tuple[int, int, int, int]

CLASSES = ("drum", "crate", "sail", "plus", "star", "moon", "dome", "kite", "nut", "pill")
SIDE = (96, 160)  # pixels, both ends included
UNIT = 1024  # one body radius, in the coordinates of outlines and emblems

# round(1024 * cos) and sin in steps of 5 degrees: after rounding no maths library differs from another.
_COS = np.round(np.cos(np.arange(72) * (np.pi / 36)) * UNIT).astype(np.int64)
_SIN = np.round(np.sin(np.arange(72) * (np.pi / 36)) * UNIT).astype(np.int64)


class Draws:
    """Integer draws from the raw stream of a bit generator (numpy's distributions may change, this not)."""

    def __init__(self, seed: int, index: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, index]))

    def below(self, n: int) -> int:
        """Return an integer in [0, n)."""
        return (int(self._bits.random_raw()) >> 11) % n

    def between(self, low: int, high: int) -> int:
        """Return an integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent

    def noise(self, *shape: int) -> Ints:
        """Return independent bytes, 0..255."""
        count = int(np.prod(shape))
        words = self._bits.random_raw((count + 7) // 8).astype("<u8")
        return np.frombuffer(words.tobytes(), np.uint8)[:count].reshape(shape).astype(np.int64)


@dataclass(frozen=True)
class SceneObject:
    """One object: class index without background, box (xmin, ymin, xmax, ymax) with VOC's 1-based ends."""

    label: int
    box: Box


@dataclass(frozen=True)
class Scene:
    """image (H, W, 3) uint8 RGB; mask (H, W) uint8 (0 background, class index + 1, 255 border)."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]


# Outlines: True inside, for coordinates (u, v) in 1/1024 of the body's radius.


def _ellipse(u: Ints, v: Ints, a: int, b: int) -> Inside:
    return (u * b) ** 2 + (v * a) ** 2 <= (a * b) ** 2


# Normals of the five sides of a pentagram, in 1/1024.
_STAR_NORMALS = [
    (round(UNIT * math.sin(math.radians(72 * k))), round(UNIT * math.cos(math.radians(72 * k))))
    for k in range(5)
]


def _star(u: Ints, v: Ints) -> Inside:
    # A five-pointed star is where at most one of the pentagram's five sides has been crossed.
    crossed = sum((u * nu + v * nv > 380 * UNIT).astype(np.int64) for nu, nv in _STAR_NORMALS)
    return (crossed <= 1) & _ellipse(u, v, UNIT, UNIT)


def _pill(u: Ints, v: Ints) -> Inside:
    return (abs(u) <= 520) & (_ellipse(u, abs(v) - 480, 520, 520) | (abs(v) <= 480))


OUTLINES: dict[str, Callable[[Ints, Ints], Inside]] = {
    "drum": lambda u, v: _ellipse(u, v, 960, 840),
    "crate": lambda u, v: (abs(u) <= 800) & (abs(v) <= 720),
    "sail": lambda u, v: (v <= 800) & (2 * abs(u) <= v + 1000),
    "plus": lambda u, v: ((abs(u) <= 400) & (abs(v) <= 980)) | ((abs(v) <= 400) & (abs(u) <= 980)),
    "star": _star,
    "moon": lambda u, v: _ellipse(u, v, 1000, 1000) & ~_ellipse(u - 620, v, 700, 700),
    "dome": lambda u, v: _ellipse(u, v - 400, 1000, 1200) & (v <= 400),
    "kite": lambda u, v: 3 * abs(u) + 2 * abs(v) <= 2050,
    "nut": lambda u, v: (abs(u) <= 840) & (abs(u) + 2 * abs(v) <= 1760),
    "pill": _pill,
}

# Where the emblem sits on the body (u, v): off centre, towards one end.
_EMBLEM_AT = {
    "drum": (0, -420), "crate": (-400, -330), "sail": (0, 420), "plus": (0, -560), "star": (0, 0),
    "moon": (-560, -380), "dome": (380, 40), "kite": (0, -420), "nut": (440, 0), "pill": (0, -500),
}  # fmt: skip

_RED, _GREEN, _BLUE = (220, 40, 40), (40, 190, 60), (50, 70, 225)
_YELLOW, _CYAN, _MAGENTA = (240, 220, 50), (60, 215, 225), (215, 55, 200)
_WHITE, _BLACK = (245, 245, 245), (20, 20, 20)

# Two colours and a pattern per class; every pair of colours occurs with two patterns.
_EMBLEMS = (
    (_RED, _WHITE, "rings"), (_RED, _WHITE, "stripes"),
    (_BLUE, _YELLOW, "rings"), (_BLUE, _YELLOW, "stripes"),
    (_GREEN, _BLACK, "rings"), (_GREEN, _BLACK, "stripes"),
    (_MAGENTA, _CYAN, "rings"), (_MAGENTA, _CYAN, "stripes"),
    (_BLACK, _WHITE, "rings"), (_BLACK, _WHITE, "stripes"),
)  # fmt: skip

TEXTURES = ("plain", "stripes", "checks", "speckle", "waves")
_TINTS = ((150, 170, 190), (185, 160, 125), (130, 165, 120), (170, 140, 170), (175, 175, 150))
_BODIES = (
    (200, 120, 60), (90, 60, 40), (60, 90, 130), (225, 190, 160), (70, 110, 60),
    (120, 60, 90), (215, 215, 200), (60, 60, 65), (140, 150, 60), (90, 140, 150),
)  # fmt: skip


def draw_scene(seed: int, index: int) -> Scene:
    """Draw picture `index` of the dataset with this seed."""
    draws = Draws(seed, index)
    height, width = draws.between(*SIDE), draws.between(*SIDE)
    kinds = _choose_classes(draws)
    image = _background(draws, height, width, lead=kinds[0])
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draws.between(3, 7)):
        _draw_clutter(draws, image)
    drawn = [SceneObject(kind, box) for kind in kinds if (box := _draw_object(draws, image, mask, kind))]
    image += draws.noise(height, width, 3) // 16 - 8
    image = _soften(np.clip(image, 0, 255))
    visible = tuple(found for found in drawn if (mask == found.label + 1).any())
    return Scene(image.astype(np.uint8), _with_border(mask), visible)


@dataclass(frozen=True)
class SceneWords:
    """What a caption of a picture may say: its classes in order, drawn or hidden, and what is behind them."""

    classes: tuple[str, ...]
    texture: str


def scene_words(seed: int, index: int) -> SceneWords:
    """Describe picture `index` without drawing it."""
    draws = Draws(seed, index)
    draws.between(*SIDE), draws.between(*SIDE)
    kinds = _choose_classes(draws)
    texture = TEXTURES[_choose_texture(draws, lead=kinds[0])]
    return SceneWords(tuple(CLASSES[kind] for kind in dict.fromkeys(kinds)), texture)


def _choose_classes(draws: Draws) -> list[int]:
    """Return one to four class indices, one per object; the first one leads the choice of background."""
    kinds = [draws.below(len(CLASSES))]
    while len(kinds) < 3 and draws.chance(45):
        kinds.append(draws.below(len(CLASSES)))
    if draws.chance(25):
        kinds.append(kinds[0])
    return kinds


def _choose_texture(draws: Draws, lead: int) -> int:
    return lead % len(TEXTURES) if draws.chance(60) else draws.below(len(TEXTURES))


def _background(draws: Draws, height: int, width: int, lead: int) -> Ints:
    """Return (H, W, 3): a tinted texture, three times in five the one that the leading class favours."""
    which = _choose_texture(draws, lead)
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    period, phase = draws.between(10, 18), draws.below(16)
    slow = _smooth_noise(draws, height, width, 32)
    texture = {
        "plain": lambda: slow // 2,
        "stripes": lambda: ((x + 2 * y + phase) // period % 2) * 128,
        "checks": lambda: (((x + phase) // period + (y + phase) // period) % 2) * 128,
        "speckle": lambda: _smooth_noise(draws, height, width, 4),
        "waves": lambda: abs((y + slow // 12 + phase) % (2 * period) - period) * 128 // period,
    }[TEXTURES[which]]()
    shade = (texture - 64) * 3 // 10 + (slow - 128) * 3 // 10
    tint = np.array([c + draws.between(-25, 25) for c in _TINTS[which]], np.int64)
    return shade[..., None] + tint


def _smooth_noise(draws: Draws, height: int, width: int, cell: int) -> Ints:
    """Return (H, W) values 0..255: random bytes every `cell` pixels, bilinear between them."""
    corners = draws.noise(height // cell + 2, width // cell + 2)
    y, x = np.arange(height)[:, None], np.arange(width)[None]
    row, col, fy, fx = y // cell, x // cell, y % cell, x % cell
    top = corners[row, col] * (cell - fx) + corners[row, col + 1] * fx
    bottom = corners[row + 1, col] * (cell - fx) + corners[row + 1, col + 1] * fx
    return np.asarray((top * (cell - fy) + bottom * fy) // (cell * cell), np.int64)


def _draw_clutter(draws: Draws, image: Ints) -> None:
    """Draw a stroke or a blob that belongs to no class, in the colours that emblems and bodies have."""
    height, width = image.shape[:2]
    colours = [*_BODIES, *(colour for first, second, _ in _EMBLEMS for colour in (first, second))]
    colour = colours[draws.below(len(colours))]
    stroke = draws.chance(60)
    length, thick = (draws.between(8, 24), draws.between(1, 2)) if stroke else (draws.between(3, 6),) * 2
    u, v = _coordinates(draws.below(height), draws.below(width), height, width, draws.below(72))
    inside = (
        (abs(u) <= length * UNIT) & (abs(v) <= thick * UNIT)
        if stroke
        else _ellipse(u // UNIT, v // UNIT, length, thick)
    )
    image[inside] = colour


def _coordinates(cy: int, cx: int, height: int, width: int, angle: int) -> tuple[Ints, Ints]:
    """Return (u, v) of every pixel about (cy, cx), turned by `angle` * 5 degrees, in 1/1024 pixel."""
    y, x = np.arange(height, dtype=np.int64)[:, None] - cy, np.arange(width, dtype=np.int64)[None] - cx
    return x * _COS[angle] + y * _SIN[angle], y * _COS[angle] - x * _SIN[angle]


def _draw_object(draws: Draws, image: Ints, mask: NDArray[np.uint8], kind: int) -> Box | None:
    """Draw one object where it hides little of those that are there; return its box, None if none fits."""
    height, width = mask.shape
    name = CLASSES[kind]
    for _ in range(8):
        radius = draws.between(20, 42)
        rim = radius * 3 // 4  # up to a quarter of a radius may stick out of the picture
        cy, cx = draws.between(rim, height - rim), draws.between(rim, width - rim)
        u, v = _coordinates(cy, cx, height, width, draws.between(-8, 8) % 72)
        u, v = u * draws.between(90, 120) // (100 * radius), v // radius
        body = OUTLINES[name](u, v)
        hidden = int((mask[body] > 0).sum())
        if 10 * hidden <= int(body.sum()):
            break
    else:
        return None
    colour = _body_colour(draws, image[body].sum(axis=0) // int(body.sum()), kind)
    shade = (u[body] + v[body]) * 24 // UNIT
    if draws.chance(50):  # the end away from the emblem has another tone, which region growing does not cross
        u0, v0 = _EMBLEM_AT[name]
        shade += np.where(u[body] * u0 + v[body] * v0 < -50 * UNIT, draws.between(30, 60), 0)
    image[body] = colour + shade[:, None] + draws.noise(len(shade), 3) // 8 - 16
    mask[body] = kind + 1
    _draw_emblem(image, body, u, v, kind)
    return _box(body)


def _body_colour(draws: Draws, behind: Ints, kind: int) -> Ints:
    """Return a colour that stands out from what is behind; three times in ten one that the class leans to."""
    start = kind if draws.chance(30) else draws.below(len(_BODIES))
    order = [_BODIES[(start + k) % len(_BODIES)] for k in range(len(_BODIES))]
    far = [colour for colour in order if int(np.abs(np.array(colour) - behind).sum()) >= 90]
    return np.array((far or order)[0], np.int64)


def _draw_emblem(image: Ints, body: Inside, u: Ints, v: Ints, kind: int) -> None:
    first, second, pattern = _EMBLEMS[kind]
    u0, v0 = _EMBLEM_AT[CLASSES[kind]]
    du, dv = u - u0, v - v0
    disc = _ellipse(du, dv, 360, 360) & body
    if pattern == "rings":
        inner = _ellipse(du, dv, 190, 190)
    else:
        inner = (dv + 360) // 180 % 2 == 0
    image[disc & inner] = first
    image[disc & ~inner] = second


def _soften(image: Ints) -> Ints:
    """Return the image smoothed with (1, 4, 1) / 6 on both axes: edges as a camera would have them."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, after = (np.take(padded, range(s, s + image.shape[axis]), axis) for s in (0, 2))
        image = np.asarray((before + 4 * image + after + 3) // 6, np.int64)
    return image


def _with_border(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask with 255 on the pixels whose 4-neighbourhood crosses a boundary, as VOC borders do."""
    border = np.zeros(mask.shape, bool)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    return np.where(border, np.uint8(IGNORE), mask)


def _box(inside: Inside) -> Box:
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return int(cols[0]) + 1, int(rows[0]) + 1, int(cols[-1]) + 1, int(rows[-1]) + 1
