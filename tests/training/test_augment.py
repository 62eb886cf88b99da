"""Augmentation keeps what must stay: the side of a chest, the lesion under its mask, the repeatability."""

import torch

from irmsia.training.augment import BatchAugmenter
from irmsia.training.recipe import Augmentation

STILL = Augmentation(rotation_degrees=0, scale=0, aspect=0, shift=0, contrast=0, brightness=0, blur=0, noise=0)


def _apply(
    settings: Augmentation, images: torch.Tensor, *, mirror: bool, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    augmenter = BatchAugmenter(settings, torch.Generator().manual_seed(seed))
    return augmenter.apply(images, images.clone(), torch.full((len(images),), mirror))


def test_nothing_asked_nothing_changed() -> None:
    """With all sizes 0 the image comes back as it was."""
    images = torch.randn(4, 1, 16, 16)
    changed, lesions = _apply(STILL, images, mirror=False)
    torch.testing.assert_close(changed, images, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(lesions, images, atol=1e-5, rtol=1e-4)


def test_only_allowed_images_are_mirrored() -> None:
    """Where mirroring is allowed about half are; a chest never is."""
    images = torch.zeros(64, 1, 8, 8)
    images[..., :4] = 1.0
    never, _ = _apply(STILL, images, mirror=False)
    torch.testing.assert_close(never, images)
    some, _ = _apply(STILL, images, mirror=True)
    mirrored = int((some[:, 0, 4, 0] < 0.5).sum())
    assert 16 < mirrored < 48


def test_lesion_follows_the_image() -> None:
    """Geometry moves image and lesion map alike, even at different resolutions."""
    images = torch.zeros(16, 1, 64, 64)
    images[:, :, 10:26, 30:46] = 1.0
    lesions = torch.nn.functional.avg_pool2d(images, 4)
    settings = STILL.model_copy(update={"rotation_degrees": 30.0, "shift": 0.15, "scale": 0.3})
    changed, moved = BatchAugmenter(settings, torch.Generator().manual_seed(2)).apply(
        images, lesions, torch.ones(16, dtype=torch.bool)
    )
    assert float((torch.nn.functional.avg_pool2d(changed, 4) - moved).abs().mean()) < 0.02
    assert float((changed - images).abs().mean()) > 0.02


def test_same_seed_same_batch() -> None:
    """The generator is the only source of randomness."""
    images = torch.randn(8, 1, 16, 16)
    one, two = _apply(Augmentation(), images, mirror=True), _apply(Augmentation(), images, mirror=True)
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], _apply(Augmentation(), images, mirror=True, seed=2)[0])


def test_greys_are_never_inverted() -> None:
    """Contrast is a positive factor, so order of greys is kept: an inverted image is to be refused, not learnt."""
    ramp = torch.linspace(-2, 2, 16).expand(32, 1, 16, 16).contiguous()
    settings = STILL.model_copy(update={"contrast": 0.5, "brightness": 0.5})
    changed, _ = _apply(settings, ramp, mirror=False)
    assert bool((changed.diff(dim=3) > 0).all())


def test_curves_rise_and_leave_the_padding() -> None:
    """A grey curve keeps the order of greys and the padding's 0, and changes the greys of the chosen images."""
    images = torch.linspace(-1.9, 2.9, 256).reshape(1, 1, 16, 16).repeat(8, 1, 1, 1)
    images[:, :, 0, :4] = 0.0
    changed, _ = _apply(STILL.model_copy(update={"curve": 1.0}), images, mirror=False)
    greys = changed.flatten(1)[:, 16:]
    assert bool((greys.diff(dim=1) > 0).all())
    assert float((greys - images.flatten(1)[:, 16:]).abs().mean()) > 0.05
    torch.testing.assert_close(changed[:, :, 0, :3], torch.zeros(8, 1, 3), atol=1e-4, rtol=0)


def test_partners_are_of_the_same_region() -> None:
    """An image is mixed with one of its own region, its own share is at least a half, and the draw repeats."""
    regions = torch.tensor([0, 1, 0, 2, 1, 0, 2, 2])
    mixes = [BatchAugmenter(STILL, torch.Generator().manual_seed(5)).draw_mix(regions, 0.4) for _ in range(2)]
    assert torch.equal(regions[mixes[0].partners], regions)
    assert sorted(mixes[0].partners.tolist()) == list(range(8))
    assert 0.5 <= mixes[0].share <= 1
    assert mixes[0].share == mixes[1].share
    assert torch.equal(mixes[0].partners, mixes[1].partners)
