"""Make phantoms from seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from irmsia.errors import InvalidRequestError
from irmsia.imaging.phantoms.canvas import Ellipse
from irmsia.imaging.phantoms.dicom import Encoding, us_spacing_mm, write_dicom
from irmsia.imaging.phantoms.hashing import Draws
from irmsia.imaging.phantoms.scenes import Scene, add_noise, draw_size, make_scene
from irmsia.imaging.phantoms.truth import (
    KINDS,
    LESIONS,
    TERMS,
    Geometry,
    Lesion,
    LesionKind,
    Phantom,
    PhantomKind,
    Truth,
)

FIRST_TRAINING_SEED = 1000
"""Seeds below are for `irmsia qa` and golden records; no training may see them."""

QA_SEEDS = range(100, 112)
GOLDEN_SEEDS = range(200, 272)

_ATTEMPTS = 5000
_CLEARANCE = 1.3
_CT_PADDING = -2000
_PLANES = (
    ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),  # axial
    ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),  # coronal
    ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),  # sagittal
)


def make_phantom(seed: int, kind: PhantomKind | None = None, lesion: LesionKind | None = None) -> Phantom:
    """The phantom of ``seed``: the same bytes on every machine.

    ``kind`` and ``lesion`` follow from the seed unless told: any 12 seeds in a row hold all 12 pairs. One seed and kind
    with another lesion is the same object with and without it.

    Raises:
        InvalidRequestError: the seed is negative or beyond 64 bits.
    """
    if not 0 <= seed < 1 << 63:
        raise InvalidRequestError("the seed of a phantom is a whole number from 0 to 2**63 - 1")
    kind = kind or KINDS[seed % len(KINDS)]
    lesion = lesion or LESIONS[seed // len(KINDS) % len(LESIONS)]
    draws = Draws(seed * len(KINDS) + KINDS.index(kind))
    rows, columns = draw_size(kind, draws)
    scene = make_scene(kind, rows, columns, draws)
    geometry = _geometry(kind, seed, (rows, columns), draws)
    encoding = _encoding(kind, draws)
    found = _paint_lesion(scene, geometry, lesion, draws)
    add_noise(scene, draws.integer())
    stored = encoding.store(scene.canvas.values)
    if encoding.padding is not None:
        stored[_beyond_field(scene)] = encoding.padding
    data = write_dicom(stored, geometry, encoding, seed=seed, kind=kind, lesion=lesion)
    digest = hashlib.sha256(stored.tobytes()).hexdigest()
    return Phantom(Truth(seed, kind, lesion, TERMS[lesion], found, geometry, digest), data)


def qa_set() -> tuple[Phantom, ...]:
    """The phantoms of `irmsia qa`: each kind without lesion, with a bright and with a dark one."""
    return tuple(make_phantom(seed) for seed in QA_SEEDS)


def phantom_training_stream(seed0: int, count: int) -> Iterator[Phantom]:
    """``count`` phantoms from ``seed0`` on, kinds and lesions in equal shares.

    Raises:
        InvalidRequestError: ``seed0`` lies below `FIRST_TRAINING_SEED`.
    """
    if seed0 < FIRST_TRAINING_SEED:
        raise InvalidRequestError(f"phantom seeds below {FIRST_TRAINING_SEED} are kept for checks")
    return (make_phantom(seed0 + index) for index in range(count))


def _geometry(kind: PhantomKind, seed: int, shape: tuple[int, int], draws: Draws) -> Geometry:
    rows, columns = shape
    if kind == "US":
        return Geometry(rows, columns, (us_spacing_mm(seed),) * 2)
    if kind == "DX":
        return Geometry(rows, columns, (_rounded(draws, 0.7, 0.9),) * 2)
    longest = max(rows, columns)
    row_mm = _rounded(draws, 0.95, 1.05) * (350.0 if kind == "CT" else 230.0) / longest
    row_mm = int(row_mm * 1000.0) / 1000.0
    column_mm = row_mm if kind == "CT" else int(row_mm * draws.uniform(1.06, 1.14) * 1000.0) / 1000.0
    row_cosine, column_cosine = _PLANES[0 if kind == "CT" else draws.choice(3)]
    corner = [_rounded(draws, -20.0, 20.0) for _ in range(3)]
    half = (columns * column_mm / 2.0, rows * row_mm / 2.0)
    position = tuple(corner[i] - half[0] * row_cosine[i] - half[1] * column_cosine[i] for i in range(3))
    return Geometry(
        rows,
        columns,
        (row_mm, column_mm),
        position=(position[0], position[1], position[2]),
        row_cosine=row_cosine,
        column_cosine=column_cosine,
        slice_thickness_mm=(1.0, 2.5, 5.0)[draws.choice(3)],
        slice_spacing_mm=None if kind == "CT" else 6.0,
    )


def _encoding(kind: PhantomKind, draws: Draws) -> Encoding:
    if kind == "CT":
        return Encoding(-160.0, 239.0, 16, signed=True, intercept=-1024, padding=_CT_PADDING)
    if kind == "MR":
        bits = (12, 16)[draws.choice(2)]
        return Encoding(0.0, float(600 + draws.choice(900)), bits)
    if kind == "DX":
        bits = 12 + draws.choice(3)
        top = 2**bits - 1
        return Encoding(float(top // 10), float(top * 17 // 20), bits, inverted=draws.choice(2) == 1)
    return Encoding(0.0, 255.0, 8, allocated=8)


def _paint_lesion(scene: Scene, geometry: Geometry, kind: LesionKind, draws: Draws) -> Lesion | None:
    """Add the lesion's contrast; the same numbers are drawn for every kind, so that the noise stays the same."""
    canvas = scene.canvas
    row_mm, column_mm = geometry.spacing_mm
    shape = _find_place(scene, row_mm / column_mm, draws)
    contrast = draws.uniform(0.34, 0.44)
    if kind == "none":
        return None
    canvas.add(canvas.ellipse(shape, edge=2.0), contrast if kind == "bright" else -contrast)
    return Lesion(
        row=shape.y,
        column=shape.x,
        row_radius=shape.half_height,
        column_radius=shape.half_width,
        row_mm=shape.y * row_mm,
        column_mm=shape.x * column_mm,
        radius_mm=shape.half_height * row_mm,
        position_mm=_position(geometry, shape),
    )


def _find_place(scene: Scene, aspect: float, draws: Draws) -> Ellipse:
    """A disc in millimetres (``aspect`` = its width by its height in pixels) within the scene's zones."""
    longest = max(scene.canvas.rows, scene.canvas.columns)
    for _ in range(_ATTEMPTS):
        zone = scene.zones[draws.choice(len(scene.zones))]
        height = longest * draws.uniform(*scene.radii)
        x = zone.x + zone.half_width * draws.uniform(-1.0, 1.0)
        y = zone.y + zone.half_height * draws.uniform(-1.0, 1.0)
        clear = max(height, height * aspect) * _CLEARANCE
        blocked = any(obstacle.grown(clear).holds(x, y) for obstacle in scene.obstacles)
        if zone.grown(-clear).holds(x, y) and not blocked:
            return Ellipse(x, y, height * aspect, height)
    raise AssertionError("a phantom scene has no room for its lesion")  # pragma: no cover - a test sweeps many seeds


def _position(geometry: Geometry, shape: Ellipse) -> tuple[float, float, float] | None:
    if geometry.position is None or geometry.row_cosine is None or geometry.column_cosine is None:
        return None
    down, across = shape.y * geometry.spacing_mm[0], shape.x * geometry.spacing_mm[1]
    x, y, z = (
        geometry.position[i] + across * geometry.row_cosine[i] + down * geometry.column_cosine[i] for i in range(3)
    )
    return x, y, z


def _beyond_field(scene: Scene) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Outside the circle that a CT reconstructs: the corners."""
    canvas = scene.canvas
    radius = 0.62 * canvas.columns
    field = Ellipse((canvas.columns - 1) / 2.0, (canvas.rows - 1) / 2.0, radius, radius)
    return field.distance(canvas.x, canvas.y) > 1.0


def _rounded(draws: Draws, low: float, high: float) -> float:
    """Three decimals, so that the file's decimal string says the same number."""
    return int(draws.uniform(low, high) * 1000.0) / 1000.0
