"""How networks are trained: named recipes, each with its source, command, hardware, cost and accuracy."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from typing import Any

from yosinski.errors import BadInput, choose
from yosinski.identity import as_before, digest, later, told
from yosinski.networks.architectures import INITIALISERS
from yosinski.networks.catalogue import architecture

# Values of pictures alone, as recipes for texts have them.
PLAIN = {"shift": 0, "mirror": True, "least_area": 0.0, "most_area": 1.0, "aspect": 1.0, "mean": "channel"}
SHARING = ("step", "gradient", "weighting", "join", "beta")  # values of networks with several tasks or inputs
CROPS = ("augment", "shift", "mirror", "least_area", "most_area", "aspect")  # values on which training crops depend


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The named recipes are at the end of this module."""

    epochs: float  # passes over the half's training images; 0 if `iterations` is set
    batch_size: int
    learning_rate: float  # the highest
    warmup: float  # share of the steps in which the rate rises along half a cosine
    momentum: float
    weight_decay: float
    clip: float  # the gradient's norm is clipped at this; 0: never
    augment: bool  # random crops and mirror images (of words: any keyword); without it, the crop in the middle
    shift: int  # pixels of black around stored images, into which crops may reach
    initialiser: str
    evaluations: int = 20  # on the select images, evenly spaced over training; the last one at the end
    iterations: int = 0  # steps of training; 0 if `epochs` is set
    schedule: str = "cosine"  # after the warm-up: half a cosine down to zero, or "step"
    step_every: int = 0  # schedule "step": after every `step_every` steps the rate is multiplied ...
    gamma: float = 1.0  # ... by this factor
    solver: str = "nesterov"  # or "caffe": v = momentum * v + rate * gradient, w = w - v
    bias_rate: float = 1.0  # the biases' learning rate, in multiples of the weights'
    bias_decay: float = 1.0  # the biases' weight decay, likewise
    mean: str = "channel"  # what is subtracted: one mean per channel, or the mean "image" at the crop's place
    scale: bool = True  # divide by the standard deviation per channel
    outputs: int = 0  # of the head; 0: one per class of the half
    dropout_below: bool = False  # whether dropout below a frozen cut is active in training
    norm_below: str = "frozen"  # batch norm's statistics below a frozen cut: "frozen", "batch" or "recalibrated"
    affine_below: bool = False  # whether batch norm's scales and offsets are trained below a frozen cut
    layer_decay: float = 0.5  # treatment "decayed": factor on the rate per segment below the cut
    probe: float = 0.5  # treatment "probed": share of the steps in which the copied segments are frozen
    thaw: float = 0.5  # treatment "thawed": share of the steps in which they are unfrozen, from the cut down
    views: int = 0  # number of stored views per image, for copies; 0: new views in every epoch, as for bases
    mirror: bool = later(True)  # whether `augment` mirrors half of the crops
    least_area: float = later(0.0)  # smallest area of a random crop, as a share of the image; such crops are resized
    most_area: float = later(1.0)  # largest area; with `least_area` 0 crops have the size of the network's input
    aspect: float = later(1.0)  # largest ratio of a random crop's longer side to its shorter side
    optimiser: str = later("sgd")  # or "adamw", with `momentum` as its first beta
    label_smoothing: float = later(0.0)  # share of the training target that is spread evenly over all outputs
    step: str = later("all")  # joint: "all" tasks in every step, or one, drawn with these chances: "0.7/0.3"
    gradient: str = later("mean")  # joint: of the tasks' gradients, in the segments that they share; or "sum"
    weighting: str = later("equal")  # joint: of gradients: "equal", numbers such as "1/0.5", or "uncertainty"
    join: str = later("concat")  # fused: "concat" or "mean" of inputs; at n = N also "logits" or "multiplicative"
    length: int = later(0)  # most tokens of a text, which is cut there; 0: as many as the network takes
    beta: float = later(0.5)  # fused, join "multiplicative": exponent of what the other inputs leave open

    def __post_init__(self) -> None:
        for value in fields(self):
            setting = getattr(self, value.name)
            assert isinstance(value.type, type)
            if value.type is float and type(setting) is int:  # equal recipes have equal digests
                object.__setattr__(self, value.name, float(setting))
            elif value.type is str and type(setting) in (int, float):  # as 0.5 for recipe.step is read
                object.__setattr__(self, value.name, f"{setting:g}")
            elif type(setting) is not value.type:
                raise BadInput(f"recipe.{value.name} takes a {value.type.__name__}, not {setting!r}")
            least = 1 if value.name in ("batch_size", "evaluations") else 0
            if isinstance(setting, int | float) and not least <= setting < math.inf:
                finite = "" if math.isfinite(setting) else " and finite"
                raise BadInput(f"recipe.{value.name} is {setting}, but must be at least {least}{finite}")
        choose("initialiser", self.initialiser, INITIALISERS)
        choose("recipe.schedule", self.schedule, ("cosine", "step"))
        choose("recipe.solver", self.solver, ("nesterov", "caffe"))
        choose("recipe.mean", self.mean, ("channel", "image"))
        choose("recipe.norm_below", self.norm_below, ("frozen", "batch", "recalibrated"))
        choose("recipe.optimiser", self.optimiser, ("sgd", "adamw"))
        choose("recipe.gradient", self.gradient, ("mean", "sum"))
        choose("recipe.join", self.join, ("concat", "mean", "logits", "multiplicative"))
        for name in ("layer_decay", "probe", "thaw"):
            if not 0 < getattr(self, name) <= 1:
                raise BadInput(f"recipe.{name} is {getattr(self, name):g}, but must be more than 0 and at most 1")
        for name in ("learning_rate", "gamma"):
            if getattr(self, name) == 0:
                raise BadInput(f"recipe.{name} must be more than 0")
        for name in ("warmup", "momentum", "label_smoothing"):
            if getattr(self, name) >= 1:
                raise BadInput(f"recipe.{name} is {getattr(self, name):g}, but must be below 1")
        if (self.epochs == 0) == (self.iterations == 0):
            setting = f"recipe.epochs is {self.epochs:g} and recipe.iterations {self.iterations}"
            raise BadInput(f"{setting}: one of them must be 0, the other more")
        if self.schedule == "step" and (self.warmup or not self.step_every):
            raise BadInput("recipe.schedule step needs recipe.step_every, and has no recipe.warmup: that must be 0")
        if self.schedule == "cosine" and (self.step_every or self.gamma != 1):
            raise BadInput(
                "recipe.step_every and recipe.gamma belong to recipe.schedule step: here they must be 0 and 1"
            )
        if self.solver == "caffe" and self.schedule != "step":
            raise BadInput("recipe.solver caffe keeps the rate in its velocity; that needs recipe.schedule step")
        if self.optimiser == "adamw" and self.solver != "nesterov":
            raise BadInput(
                f"recipe.solver {self.solver} belongs to recipe.optimiser sgd: with adamw it must be nesterov"
            )
        if self.mean == "image" and self.shift:
            raise BadInput("recipe.mean image has no pixels in the border that recipe.shift adds: that must be 0")
        if self.views > 1 and not self.augment:
            raise BadInput("recipe.views are all the same with recipe.augment false: there can be one, or 0")
        self._check_crops()
        self._check_sharing()
        changing = {"dropout_below": self.dropout_below, "norm_below": self.norm_below == "batch"}
        for name, changes in {**changing, "affine_below": self.affine_below}.items():
            if self.views and changes:
                setting = f"recipe.{name} {str(getattr(self, name)).lower()}"
                raise BadInput(f"recipe.views stores features, but with {setting} they are not the same in every step")

    def _check_crops(self) -> None:
        if not self.augment and not self.mirror:
            raise BadInput("recipe.mirror false belongs to recipe.augment true: without it nothing is mirrored")
        if not self.least_area:
            if self.most_area != 1 or self.aspect != 1:
                raise BadInput(
                    "recipe.most_area and recipe.aspect belong to recipe.least_area, which is 0: here they must be 1"
                )
            return
        if not self.augment:
            raise BadInput("recipe.least_area belongs to recipe.augment true: without it crops are those in the middle")
        if not self.least_area <= self.most_area <= 1:
            setting = f"recipe.least_area is {self.least_area:g} and recipe.most_area {self.most_area:g}"
            raise BadInput(f"{setting}: the first must be at most the second, and that at most 1, the whole image")
        if self.aspect < 1:
            raise BadInput(f"recipe.aspect is {self.aspect:g}, but must be at least 1: so many times wider or higher")
        if self.shift:
            raise BadInput("recipe.least_area cuts within stored images, without a border: recipe.shift must be 0")
        if self.mean == "image":
            raise BadInput(
                "recipe.mean image has no pixels for crops that recipe.least_area resizes: it must be channel"
            )

    def _check_sharing(self) -> None:
        for name, words in (("step", ("all",)), ("weighting", ("equal", "uncertainty"))):
            if getattr(self, name) not in words and not numbers(getattr(self, name)):
                known = " or ".join(map(repr, words))
                raise BadInput(
                    f"recipe.{name} is {getattr(self, name)!r}, but must be {known}, or one number for each task, at "
                    "least 0 and not all 0, such as 0.7/0.3"
                )
        if self.join == "multiplicative" and self.label_smoothing:
            raise BadInput("recipe.label_smoothing is not defined for recipe.join multiplicative: it must be 0")
        if self.join != "multiplicative" and self.beta != 0.5:
            raise BadInput("recipe.beta belongs to recipe.join multiplicative")

    def read(self, reads: str) -> "Recipe":
        """The same recipe for "pictures" or "texts" alone, without what makes sense for the others."""
        return replace(self, **(PLAIN if reads == "texts" else {"length": 0}))

    @cached_property
    def only(self) -> dict[str, dict[str, Any]]:
        """The values that make sense for "pictures" alone, and those for "texts" alone."""
        others = {"pictures": self.read("texts"), "texts": self.read("pictures")}
        return {
            reads: {name: value for name, value in self.values.items() if getattr(other, name) != value}
            for reads, other in others.items()
        }

    @property
    def alone(self) -> "Recipe":
        """The same recipe for a network with one task and one input."""
        return replace(self, **{name: before for name, before in as_before(Recipe).items() if name in SHARING})

    @cached_property
    def values(self) -> dict[str, Any]:
        """The values by name, without later ones that have their default. Shared: do not change it."""
        return told(self)

    @cached_property
    def digest(self) -> str:
        """16 hex digits over these values."""
        return digest(self.values)

    @property
    def crops(self) -> dict[str, Any]:
        """The values on which training crops depend."""
        return {name: value for name, value in self.values.items() if name in CROPS}

    def steps(self, images: int) -> int:
        """Number of training steps for this number of images. Incomplete batches are left out of an epoch."""
        return self.iterations or max(1, round(self.epochs * (images // min(self.batch_size, images))))

    def rate(self, step: int, steps: int) -> float:
        """The weights' learning rate in step 0..steps-1, by the schedule of the recipe."""
        if self.schedule == "step":
            return self.learning_rate * self.gamma ** (step // self.step_every)
        done = (step + 1) / steps
        if done < self.warmup:
            return self.learning_rate * (1 - math.cos(math.pi * done / self.warmup)) / 2
        return self.learning_rate * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2

    def evaluated(self, steps: int) -> list[int]:
        """The steps after which the network is evaluated; fewer than `evaluations` in a short training."""
        return sorted({max(1, round(steps * k / self.evaluations)) for k in range(1, self.evaluations + 1)})

    def with_values(self, values: Mapping[str, Any]) -> "Recipe":
        """A recipe with some values changed. Unknown names and wrong types raise BadInput."""
        for name in values:
            choose("recipe value", name, [value.name for value in fields(self)])
        return replace(self, **values)


@cache
def numbers(text: str) -> tuple[float, ...]:
    """The numbers of a text such as "0.7/0.3"; empty unless all are at least 0 and one is more."""
    try:
        found = tuple(float(part) for part in text.split("/"))
    except ValueError:
        return ()
    return found if all(0 <= number < math.inf for number in found) and any(found) else ()


# Source: tuned on splits random:100 and above of emoji (docs/log.md), then frozen.
# Command: yosinski run figure2
# Hardware and cost: two cores without bfloat16, 58 networks in 21 min.
# Reached: base 0.82 on test images; at n = 7 BnB 0.81, AnB 0.67 (means of both directions of split random:0).
EMOJI = Recipe(
    epochs=40.0,
    batch_size=128,
    learning_rate=0.15,
    warmup=0.2,
    momentum=0.9,
    weight_decay=5e-4,
    clip=1.0,
    augment=True,
    shift=2,
    initialiser="kaiming",
    evaluations=20,
)

# Source: EMOJI, shortened; bases are not trained to convergence. For trying out sweeps and for tests: accuracies are
# meaningless.
SKETCH = EMOJI.with_values({"epochs": 4.0, "evaluations": 4})

# Source: the training definitions and solvers of github.com/yosinski/convnet_transfer, Caffe's reference model of 2014.
# The differences are in docs/paper.md.
# Command: yosinski submit paper --data imagenet:PATH --profile PROFILE
# Hardware and cost: the paper says 9.5 days on a GPU for each network; 5.2e17 FLOPs for a base.
# Expected, from the published logs (mean of the 10 highest accuracies): base halves 0.625 on average, 0.615 to 0.634;
# all 1000 classes 0.576; paired with their base BnB -0.030 and AnB -0.047 at n = 5, 0.000 and -0.083 at n = 7.
# Not trained to the end with this code.
PAPER = Recipe(
    epochs=0.0,
    iterations=450_000,
    batch_size=256,
    learning_rate=0.01,
    warmup=0.0,
    schedule="step",
    step_every=100_000,
    gamma=0.1,
    solver="caffe",
    momentum=0.9,
    weight_decay=5e-4,
    bias_rate=2.0,
    bias_decay=0.0,
    clip=0.0,
    augment=True,
    shift=0,
    mean="image",
    scale=False,
    initialiser="paper",
    outputs=1000,
    dropout_below=True,
    evaluations=450,
)

# Source: PAPER, for networks trained on the first images of each class (the supplement's reduced data).
# Command: yosinski submit reduced --data imagenet:PATH -p network=caffenet -p recipe=paper-reduced --profile PROFILE
# Expected, from the published logs: 0.55 with 1300 images per class, 0.54 with 1000, 0.48 with 500, 0.38 with 250. With
# 5 to 100 the loss stayed at ln 1000: the optimisation failed, which is no effect of the data.
PAPER_REDUCED = PAPER.with_values(
    {"learning_rate": 0.0125, "step_every": 64_000, "iterations": 200_000, "evaluations": 200}
)

# Source: current practice for this network: Nesterov's momentum, a warm-up and one cosine instead of drops, He's
# initialiser, channel moments, the rate and batch of torchvision's reference training of AlexNet (0.01 at 256), a third
# of the paper's steps. The head has one output per class of the half, and dropout below a frozen cut is off, so frozen
# features are the same in training and evaluation. docs/paper.md compares it with PAPER, line by line.
# Command: yosinski submit figure2 --data imagenet:PATH -p network=caffenet -p recipe=modern --profile PROFILE
# Cost: 1.7e17 FLOPs for a base on 650,000 images. Its accuracy has not been measured.
MODERN = Recipe(
    epochs=60.0,
    batch_size=256,
    learning_rate=0.01,
    warmup=0.05,
    momentum=0.9,
    weight_decay=5e-4,
    clip=0.0,
    augment=True,
    shift=0,
    initialiser="kaiming",
    evaluations=60,
)

# Source: SGD with Nesterov's momentum under one cosine, as Kornblith, Shlens and Le (2019) fine-tune. They search rates
# and weight decays over several decades for every data set; here one value is used for all. Batches of 64 fit one GPU.
# A warm-up, because the new layers start from random weights above trained ones; new layers as torch initialises them.
# Command: yosinski plan transfer --data imagefolder:PATH
# Reached, cutting one small network with batch norm for 2,000 images of 100 other classes (docs/log.md): W7B+ 0.816 on
# select images, from scratch 0.463; with a rate of 0.01 0.784, of 0.1 0.820, in 60 epochs 0.831. That network had been
# trained with a rate of 0.075 per 64 images; networks for ImageNet mostly with 0.025, so the rate is below 0.1. From
# scratch, 20 epochs on few images are not enough: such a base shows the same training without the weights, not the best
# possible network. Crops have the size of the network's input, from stored images with sides 8/7 as large. Crops of
# random size, which are more common in fine-tuning, are an option: -p recipe.least_area=0.08 -p recipe.aspect=1.333.
# Their effect has not been measured. They are no default, so that the ids of runs with this recipe stay the same.
FINETUNE = Recipe(
    epochs=20.0,
    batch_size=64,
    learning_rate=0.03,
    warmup=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    clip=0.0,
    augment=True,
    shift=0,
    initialiser="own",
    evaluations=20,
)

# In the spec of a base from outside it replaces the unknown recipe. Only the values that a copy must share are used:
# one mean and one standard deviation per channel.
OUTSIDE = Recipe(
    epochs=1.0,
    batch_size=1,
    learning_rate=1.0,
    warmup=0.0,
    momentum=0.0,
    weight_decay=0.0,
    clip=0.0,
    augment=False,
    shift=0,
    initialiser="kaiming",
    evaluations=1,
)

# Source: EMOJI's schedule with AdamW, a quarter as long: words are learned by then.
# Command: yosinski run figure2 --data words:en -p network=textnet
# Reached: base A of random:0 0.755 on test examples; the best of all classifiers is right on 0.757 of them.
WORDS = EMOJI.with_values(
    {"optimiser": "adamw", "learning_rate": 0.003, "weight_decay": 0.05, "shift": 0, "epochs": 10.0}
)

# Source: AdamW under a warm-up and one cosine with the gradient clipped at 1, as BERT is usually fine-tuned (Devlin et
# al. 2019 search rates of 2e-5 to 5e-5 for the whole network in 2 to 4 epochs). Heads and frozen copies need higher
# rates and more epochs, and all treatments have the same here: a compromise. (all-MiniLM-L6-v2 on 63 select texts, mean
# of six choices and three seeds: 2e-4 and 5e-4 0.837, 1e-3 0.825; the head alone 0.746, 0.799 and 0.836.)
# Command: yosinski run transfer --data textfile:PATH -p network=hf:PATH
FINETUNE_TEXTS = FINETUNE.with_values(
    {
        **{"optimiser": "adamw", "epochs": 10.0, "batch_size": 32, "learning_rate": 5e-4, "weight_decay": 0.01},
        **{"clip": 1.0, "length": 64, "evaluations": 10},
    }
)

RECIPES = {
    "emoji": EMOJI,
    "sketch": SKETCH,
    "paper": PAPER,
    "paper-reduced": PAPER_REDUCED,
    "modern": MODERN,
    "finetune": FINETUNE,
    "words": WORDS,
    "finetune-texts": FINETUNE_TEXTS,
}

USUAL = {"alexnet32": EMOJI, "caffenet": PAPER, "textnet": WORDS}  # default recipe by network, without its @


def usual(network: str) -> Recipe:
    """The default recipe of a network. BadInput if there is none."""
    others = FINETUNE_TEXTS if architecture(network).reads == "texts" else FINETUNE
    return USUAL.get(network.partition("@")[0], others)


def recipe(name: str) -> Recipe:
    """A recipe by name."""
    return RECIPES[choose("recipe", name, RECIPES)]
