"""All the numbers of one training, frozen: what is learnt from, how long, with which augmentation and loss."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RegionTerms(_Frozen):
    """A label group to be learnt.

    Attributes:
        region: name of the group.
        terms: in the order of the logits; the first is ``normal``.
        share: share of the training batches' images.
        mirror: whether a left-right mirrored image is still valid medicine (never for chests: the heart lies left).
        coverage: of the conformal sets.
    """

    region: str
    terms: tuple[str, ...]
    share: Share
    mirror: bool = False
    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.95


class Augmentation(_Frozen):
    """Random changes that keep the label true. Lengths are shares of the image side, greys are in standard deviations.

    Each is the greatest size of a uniform draw, scale, aspect and contrast of their logarithm; ``blur`` and ``noise``
    are the shares of images that get one. ``curve``: share of images whose greys go through a random rising curve, so
    that a term is not read from the contrast of a sequence. Inversion is left out: an inverted image is to be refused.
    """

    rotation_degrees: float = 15.0
    scale: float = 0.2
    aspect: float = 0.08
    shift: float = 0.1
    contrast: float = 0.3
    brightness: float = 0.3
    blur: Share = 0.2
    noise: Share = 0.2
    noise_sd: float = 0.15
    curve: Share = 0.0


class Recipe(_Frozen):
    """One training.

    Attributes:
        lesion_weight: of the auxiliary loss that a place belongs to a lesion, where masks are known.
        attention_weight: of the auxiliary loss that lesion terms attend to the lesion.
        sampling_power: classes are drawn in proportion to their size to this power; the loss weights undo the rest.
        epochs: may be changed between a run and its resumption.
        cooldown_epochs: the last ones, over which the learning rate falls; before it is constant, so a run of unknown
            length can be ended well at any time (Hu et al., "MiniCPM", 2024, section 4).
        patience: epochs without a better validation loss before stopping.
        mixup: both parameters of the Beta distribution from which the share of a second image of the same region is
            drawn (Zhang et al., "mixup: beyond empirical risk minimization", 2018); 0: none.
    """

    backbone: str = "resnet18d_w32"
    size: int = 160
    regions: tuple[RegionTerms, ...]
    seed: int = 2026
    epochs: Annotated[int, Field(ge=1)] = 40
    cooldown_epochs: Annotated[int, Field(ge=0)] = 10
    steps_per_epoch: Annotated[int, Field(ge=1)] = 250
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Positive = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 200
    dropout: Share = 0.2
    router_weight: float = 0.3
    lesion_weight: float = 1.0
    attention_weight: float = 0.1
    label_smoothing: Share = 0.0
    sampling_power: Share = 0.5
    ema_decay: Share = 0.999
    patience: int = 15
    mixup: Annotated[float, Field(ge=0)] = 0.0
    precision: Literal["bf16", "fp32"] = "bf16"
    augmentation: Augmentation = Augmentation()

    def region_names(self) -> tuple[str, ...]:
        """Return the regions in the order of the router's logits."""
        return tuple(region.region for region in self.regions)


class ForeignRecipe(_Frozen):
    """The fit of the head that looks for foreign images, on the finished network's features.

    Attributes:
        own: own images of each region in a batch.
        families: families of made-up foreign images in a batch; each makes one image of each region.
    """

    seed: int = 2026
    steps: Annotated[int, Field(ge=1)] = 1200
    own: Annotated[int, Field(ge=1)] = 10
    families: Annotated[int, Field(ge=1)] = 10
    learning_rate: Positive = 2e-3
    weight_decay: float = 0.05
    warmup_steps: Annotated[int, Field(ge=1)] = 50


class Plan(_Frozen):
    """All fits behind one bundle, in their order.

    Attributes:
        base: from random weights.
        finish: goes on from the best weights of ``base``; null: those are the bundle's.
        foreign: the head that looks for foreign images; null: none.
    """

    base: Recipe
    finish: Recipe | None = None
    foreign: ForeignRecipe | None = None

    def samples_seen(self) -> int:
        """Return how many images the fits of the network draw."""
        fits = [recipe for recipe in (self.base, self.finish) if recipe is not None]
        return sum(recipe.epochs * recipe.steps_per_epoch * recipe.batch_size for recipe in fits)
