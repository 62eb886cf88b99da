"""What the four kinds of phantom show, in display units: 0 is black and 1 is white of the file's own window.

CT goes beyond both ends: air and bone lie outside the soft-tissue window. Organs are ellipses with texture, like the
classic test objects: clearly made, never mistaken for a patient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from irmsia.imaging.phantoms.canvas import Canvas, Ellipse, Mask, paint_marks
from irmsia.imaging.phantoms.hashing import Draws, smooth_noise, white_noise
from irmsia.imaging.phantoms.truth import PhantomKind

AIR = -2.1
"""Display value of air in the CT scene, about -1000 HU."""

_SIZES: dict[PhantomKind, tuple[tuple[int, int], ...]] = {
    "CT": ((512, 512), (384, 384), (320, 320)),
    "MR": ((256, 256), (320, 320), (384, 320)),
    "DX": ((512, 416), (480, 400), (416, 352)),
    "US": ((384, 512), (360, 480), (300, 400)),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A painted phantom without lesion or noise.

    A lesion lies inside one of ``zones`` and outside all of ``obstacles``; its radius is a share ``radii``
    of the longer side. ``grain``: standard deviation of the noise. ``speckle``: where noise multiplies as well.
    """

    canvas: Canvas
    zones: tuple[Ellipse, ...]
    obstacles: tuple[Ellipse, ...]
    radii: tuple[float, float]
    grain: float
    speckle: Mask | None = None


@dataclass(frozen=True, slots=True)
class _Pose:
    """Centre of the object in pixels, its unit (pixels a hundredth of the shorter side) and its turn."""

    x: float
    y: float
    unit: float
    turn: float

    def ellipse(self, across: float, down: float, half_width: float, half_height: float, turn: float = 0.0) -> Ellipse:
        """In hundredths of the shorter side, seen from the pose; turns add up nearly, as they are small."""
        scale = 1.0 + self.turn * self.turn
        cosine, sine = (1.0 - self.turn * self.turn) / scale, 2.0 * self.turn / scale
        x = self.x + self.unit * (across * cosine - down * sine)
        y = self.y + self.unit * (across * sine + down * cosine)
        return Ellipse(x, y, self.unit * half_width, self.unit * half_height, turn + self.turn)


def draw_size(kind: PhantomKind, draws: Draws) -> tuple[int, int]:
    """Rows and columns."""
    sizes = _SIZES[kind]
    return sizes[draws.choice(len(sizes))]


def make_scene(kind: PhantomKind, rows: int, columns: int, draws: Draws) -> Scene:
    """The scene of ``kind``, varied by ``draws``."""
    return _SCENES[kind](rows, columns, draws)


def add_noise(scene: Scene, seed: int) -> None:
    """Independent noise over the whole canvas, after speckle where the scene has it."""
    canvas = scene.canvas
    noise = white_noise(seed, canvas.rows, canvas.columns)
    if scene.speckle is not None:
        blurred = noise + np.roll(noise, 1, axis=1) + np.roll(noise, 2, axis=1) + np.roll(noise, 1, axis=0)
        canvas.values *= 1.0 + 0.07 * scene.speckle * blurred
    canvas.values += scene.grain * noise


def _pose(rows: int, columns: int, draws: Draws, *, turn: float = 0.05) -> _Pose:
    shorter = min(rows, columns)
    return _Pose(
        x=columns * draws.uniform(0.47, 0.51),
        y=rows * draws.uniform(0.49, 0.53),
        unit=shorter / 100.0 * draws.uniform(0.95, 1.03),
        turn=draws.uniform(-turn, turn),
    )


def _texture(canvas: Canvas, where: Mask, draws: Draws, strength: float) -> None:
    """Two octaves of smooth noise."""
    longest = max(canvas.rows, canvas.columns)
    coarse = smooth_noise(draws.integer(), canvas.rows, canvas.columns, cell=longest / 9.0)
    fine = smooth_noise(draws.integer(), canvas.rows, canvas.columns, cell=longest / 40.0)
    canvas.add(where, strength * (0.6 * coarse + 0.4 * fine))


def _trunk(rows: int, columns: int, draws: Draws) -> Scene:
    """CT: a trunk with a fat ring, a spine, a gas pocket on one side and a row of rods on the other; a table below."""
    canvas, pose = Canvas(rows, columns, AIR), _pose(rows, columns, draws)
    body = pose.ellipse(0, 0, draws.uniform(37, 40), draws.uniform(29, 33))
    inside = body.grown(-3.0 * pose.unit)
    spine, canal = pose.ellipse(-3, 21, 6, 5), pose.ellipse(-3, 21.5, 2, 1.6)
    gas = pose.ellipse(19, -17, 9, 3.5, 0.25)
    table = pose.ellipse(0, 70, 75, 33)
    canvas.paint(canvas.ellipse(table), 0.32)
    canvas.paint(canvas.ellipse(table.grown(-2.0 * pose.unit)), AIR)
    canvas.paint(canvas.ellipse(body), 0.14)
    organ = canvas.ellipse(inside)
    canvas.paint(organ, draws.uniform(0.46, 0.54))
    _texture(canvas, organ, draws, 0.05)
    canvas.paint(canvas.ellipse(gas), AIR)
    canvas.paint(canvas.ellipse(spine), 2.0)
    canvas.paint(canvas.ellipse(canal), 0.45)
    rods = tuple(pose.ellipse(-29 + 1.2 * k, -8 + 5 * k, 1.1, 1.1) for k in range(4))
    for rod in rods:
        canvas.paint(canvas.ellipse(rod), 1.6)
    paint_marks(canvas, 0.0, 1.3)
    return Scene(
        canvas, (inside.grown(-1.5 * pose.unit),), (spine, gas, *rods), (0.06, 0.09), draws.uniform(0.02, 0.04)
    )


def _head(rows: int, columns: int, draws: Draws) -> Scene:
    """MR: rings of scalp and skull, unequal tilted ventricles, a cerebellum on one side, a slow bias field."""
    canvas, pose = Canvas(rows, columns, 0.01), _pose(rows, columns, draws)
    scalp = pose.ellipse(0, 0, draws.uniform(35, 38), draws.uniform(41, 43))
    skull, brain = scalp.grown(-2.5 * pose.unit), scalp.grown(-5.5 * pose.unit)
    larger, smaller = pose.ellipse(-5, -3, 2.5, 10, -0.10), pose.ellipse(5, -5, 1.8, 7, 0.12)
    lobe = pose.ellipse(9, 25, 11, 5.5, -0.12)
    canvas.paint(canvas.ellipse(scalp), 0.85)
    canvas.paint(canvas.ellipse(skull), 0.05)
    tissue = canvas.ellipse(brain)
    canvas.paint(tissue, draws.uniform(0.44, 0.52))
    _texture(canvas, tissue, draws, 0.06)
    canvas.paint(canvas.ellipse(larger), 0.2)
    canvas.paint(canvas.ellipse(smaller), 0.2)
    canvas.paint(canvas.ellipse(lobe), 0.58)
    slope = draws.uniform(-0.12, 0.12)
    canvas.values *= 1.0 + slope * (canvas.x / columns - 0.5)
    paint_marks(canvas, 0.02, 0.95)
    return Scene(canvas, (brain,), (larger, smaller, lobe), (0.06, 0.075), draws.uniform(0.015, 0.03))


def _thorax(rows: int, columns: int, draws: Draws) -> Scene:
    """X-ray: two unequal lung fields under slanting ribs, a spine, a heart to the right of the picture, a diaphragm."""
    canvas, pose = Canvas(rows, columns, 0.04), _pose(rows, columns, draws, turn=0.02)
    body = pose.ellipse(0, 12, 46, 72)
    left, right = pose.ellipse(-21, -4, 16, 36, 0.04), pose.ellipse(21, -8, 14, 31, -0.04)
    spine, heart = pose.ellipse(-1, 0, 4.5, 80), pose.ellipse(13, 18, 14, 13, 0.2)
    canvas.paint(canvas.ellipse(body, edge=6.0), 0.66)
    lungs = np.maximum(canvas.ellipse(left, edge=5.0), canvas.ellipse(right, edge=5.0))
    canvas.paint(lungs, draws.uniform(0.40, 0.46))
    _texture(canvas, lungs, draws, 0.05)
    _paint_ribs(canvas, pose, lungs)
    canvas.paint(canvas.ellipse(heart, edge=5.0), 0.74)
    canvas.paint(canvas.ellipse(spine, edge=4.0) * canvas.ellipse(body), 0.86)
    paint_marks(canvas, 0.0, 1.0)
    return Scene(canvas, (left, right), (heart, spine), (0.056, 0.068), draws.uniform(0.01, 0.025))


def _paint_ribs(canvas: Canvas, pose: _Pose, lungs: Mask) -> None:
    for k in range(7):
        rib = pose.ellipse(0, -22 + 11 * k, 40, 9)
        arc = canvas.ellipse(rib) - canvas.ellipse(rib.grown(-1.6 * pose.unit))
        canvas.add(np.asarray(arc * lungs), 0.06)


def _sector(rows: int, columns: int, draws: Draws) -> Scene:
    """Ultrasound: a fan below a transducer, layers at the top, speckle, a tilted bright line on one side."""
    canvas = Canvas(rows, columns, 0.0)
    apex_x, apex_y = columns * draws.uniform(0.48, 0.50), rows * -0.16
    depth = rows * draws.uniform(1.06, 1.10)
    fan = _fan(canvas, apex_x, apex_y, (0.24 * rows, depth))
    unit = rows / 100.0
    tissue = draws.uniform(0.40, 0.46)
    canvas.paint(fan, tissue)
    _texture(canvas, fan, draws, 0.05)
    for radius, value in ((0.27, 0.75), (0.33, 0.58), (0.36, 0.3)):
        layer = _fan(canvas, apex_x, apex_y, (radius * rows, (radius + 0.022) * rows))
        canvas.paint(layer, value)
    line = Ellipse(apex_x + 24.0 * unit, 62.0 * unit, 14.0 * unit, 0.9 * unit, 0.15)
    canvas.paint(np.asarray(canvas.ellipse(line) * fan), 0.8)
    paint_marks(canvas, 0.0, 1.0)
    zone = Ellipse(apex_x, 56.0 * unit, 36.0 * unit, 24.0 * unit)
    return Scene(canvas, (zone,), (line,), (0.06, 0.08), draws.uniform(0.005, 0.01), speckle=fan)


def _fan(canvas: Canvas, apex_x: float, apex_y: float, radii: tuple[float, float]) -> Mask:
    across, down = canvas.x - apex_x, canvas.y - apex_y
    radius = np.sqrt(across * across + down * down)
    near, far = radii
    side = down * 0.70 - np.abs(across) * 0.90
    return np.asarray(np.clip(np.minimum(np.minimum(radius - near, far - radius), side) / 1.5 + 0.5, 0.0, 1.0))


_SCENES: dict[PhantomKind, Callable[[int, int, Draws], Scene]] = {
    "CT": _trunk,
    "MR": _head,
    "DX": _thorax,
    "US": _sector,
}
