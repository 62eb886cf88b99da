"""Made-up foreign images, from own ones or from nothing: what the head that looks for foreign images learns from.

Each family maps own images (N, 1, S, S), padding 0, to foreign ones. None of it is made from the foreign sets on which
refusal is measured.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Family = Callable[[Tensor, Generator], Tensor]

_KNOTS = 9


def standardise(images: Tensor, inside: Tensor) -> Tensor:
    """Return images of mean 0 and spread 1 over the places ``inside`` (N, 1, S, S) bool, 0 elsewhere."""
    count = inside.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    mean = (images * inside).sum(dim=(1, 2, 3), keepdim=True) / count
    centred = (images - mean) * inside
    spread = (centred.square().sum(dim=(1, 2, 3), keepdim=True) / count).sqrt()
    return centred / spread.clamp(min=1e-3)


def _inside(images: Tensor) -> Tensor:
    return images != 0


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low


def _whole(low: int, high: int, generator: Generator) -> int:
    return int(torch.randint(low, high + 1, (1,), generator=generator))


def turned(images: Tensor, generator: Generator) -> Tensor:
    """By one, two or three quarters, or upside down."""
    ways = [_whole(0, 3, generator) for _ in images]
    pairs = zip(images, ways, strict=True)
    return torch.stack([one.flip(1) if way == 3 else one.rot90(way + 1, (1, 2)) for one, way in pairs])


def inverted(images: Tensor, generator: Generator) -> Tensor:
    """White for black."""
    return -images


def regreyed(images: Tensor, generator: Generator) -> Tensor:
    """Tissues keep their places and swap their greys, as another modality would show them: a random curve."""
    curves = torch.rand(len(images), _KNOTS, generator=generator)
    place = ((images + 2.0) / 5.0).clamp(0, 1) * (_KNOTS - 1)
    left = place.floor().clamp(max=_KNOTS - 2).long()
    share = place - left
    rows = torch.arange(len(images))[:, None, None, None]
    return standardise(curves[rows, left] * (1 - share) + curves[rows, left + 1] * share, _inside(images))


def shuffled(images: Tensor, generator: Generator) -> Tensor:
    """Cut into a grid of cells, which change places."""
    side = images.shape[-1]
    cells = [n for n in (2, 4, 5, 8) if side % n == 0]
    n = cells[_whole(0, len(cells) - 1, generator)]
    tiles = F.unfold(images, side // n, stride=side // n)
    mixed = torch.stack([one[:, torch.randperm(n * n, generator=generator)] for one in tiles])
    return F.fold(mixed, (side, side), side // n, stride=side // n)


def doubled(images: Tensor, generator: Generator) -> Tensor:
    """Two images on one film, one over the other or half by half."""
    other = images.roll(1, 0)
    if _whole(0, 1, generator):
        return _whole_picture(images + _uniform(len(images), 0.7, 1.4, generator) * other)
    cut = torch.linspace(-1, 1, images.shape[-1])[None, None, None] > _uniform(len(images), -0.4, 0.4, generator)
    return _whole_picture(torch.where(cut, images, other))


def tiled(images: Tensor, generator: Generator) -> Tensor:
    """Many small ones on one sheet."""
    side, n = images.shape[-1], _whole(2, 6, generator)
    small = F.interpolate(images, size=(math.ceil(side / n),) * 2, mode="area")
    chosen = torch.randint(len(images), (len(images), n, n), generator=generator)
    rows = small[chosen][:, :, :, 0].permute(0, 1, 3, 2, 4).reshape(len(images), n * small.shape[-1], -1)
    return _whole_picture(rows[:, None, :side, :side])


def far_or_near(images: Tensor, generator: Generator) -> Tensor:
    """Much smaller on an empty ground, or a small part of it only."""
    count = len(images)
    scale = torch.where(
        _uniform(count, 0, 1, generator) < 0.5,
        _uniform(count, 2.2, 5, generator),
        _uniform(count, 0.15, 0.4, generator),
    )
    shift = (torch.rand(count, 2, 1, generator=generator) - 0.5) * scale[:, 0, :, 0][:, None]
    matrix = torch.cat([torch.eye(2)[None] * scale[:, 0], shift], dim=2)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return _whole_picture(F.grid_sample(images - images.amin((2, 3), keepdim=True), grid, align_corners=False))


def blurred(images: Tensor, generator: Generator) -> Tensor:
    """Almost everything lost in blur."""
    radius = _whole(4, 12, generator)
    return standardise(F.avg_pool2d(images, 2 * radius + 1, 1, radius), _inside(images))


def flattened(images: Tensor, generator: Generator) -> Tensor:
    """Two or three greys, as a mask or a label map has."""
    steps = torch.sort(torch.rand(len(images), 2, generator=generator) * 3 - 1.2, dim=1).values[:, :, None, None]
    height = _uniform(len(images), -1, 2, generator)
    levels = (images > steps[:, :1]).float() + height * (images > steps[:, 1:]).float()
    return standardise(levels, _inside(images))


def outlined(images: Tensor, generator: Generator) -> Tensor:
    """Edges only."""
    across = (images - images.roll(1, 3)).abs() + (images - images.roll(1, 2)).abs()
    return standardise(across.sqrt() if _whole(0, 1, generator) else across, _inside(images))


def scrambled(images: Tensor, generator: Generator) -> Tensor:
    """The same strength of every frequency, at random places: texture without anatomy."""
    strength = torch.fft.rfft2(images).abs()
    random = torch.fft.rfft2(torch.randn(images.shape, generator=generator))
    return _whole_picture(torch.fft.irfft2(strength * random / random.abs().clamp(min=1e-6), s=images.shape[2:]))


def noisy(images: Tensor, generator: Generator) -> Tensor:
    """Noise from white to clouds."""
    side = images.shape[-1]
    down = torch.fft.fftfreq(side)[:, None]
    distance = (down.square() + torch.fft.rfftfreq(side)[None].square()).sqrt().clamp(min=1 / side)
    power = distance ** -_uniform(len(images), 0, 2.5, generator)
    return _whole_picture(torch.fft.irfft2(torch.fft.rfft2(torch.randn(images.shape, generator=generator)) * power))


def leaves(images: Tensor, generator: Generator) -> Tensor:
    """Discs of all sizes over each other, the simplest model of a photograph (Lee, Mumford, Huang, 2001)."""
    count, side = len(images), images.shape[-1]
    rows, columns = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    made = _uniform(count, 0, 1, generator).expand(images.shape).clone()
    for number in range(_whole(5, 60, generator)):
        radius = 0.6 / (1 + number) ** 0.7 * _uniform(count, 0.4, 1.6, generator)
        row, column = _uniform(count, 0, 1, generator), _uniform(count, 0, 1, generator)
        stretch = _uniform(count, 0.5, 2, generator)
        disc = ((rows - row) * stretch).square() + (columns - column).square() < radius.square()
        made = torch.where(disc, _uniform(count, 0, 1, generator) + 0.2 * (columns - column), made)
    return _whole_picture(made + _uniform(count, 0, 0.1, generator) * torch.randn(images.shape, generator=generator))


def written(images: Tensor, generator: Generator) -> Tensor:
    """Lines of small dashes on an even ground, as text."""
    count, side = len(images), images.shape[-1]
    lines, letters = _whole(5, 40, generator), _whole(20, 80, generator)
    marks = (torch.rand(count, 1, 2 * lines, letters, generator=generator) < 0.7).float()
    marks[:, :, ::2] = 0
    marks *= torch.rand(count, 1, 1, letters, generator=generator) < 0.9
    page = F.interpolate(marks, size=(side, side), mode="nearest" if _whole(0, 1, generator) else "bilinear")
    return _whole_picture(page * (1.0 if _whole(0, 1, generator) else -1.0))


def _whole_picture(images: Tensor) -> Tensor:
    return standardise(images, torch.ones_like(images, dtype=torch.bool))


FAMILIES: dict[str, Family] = {
    family.__name__: family
    for family in (
        turned,
        inverted,
        regreyed,
        shuffled,
        doubled,
        tiled,
        far_or_near,
        blurred,
        flattened,
        outlined,
        scrambled,
        noisy,
        leaves,
        written,
    )
}
"""By name, in a fixed order."""
