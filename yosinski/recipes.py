"""Named recipes, each with its source, command, hardware, cost and what it reached."""

from yosinski.spec import Recipe, choose

# Source: tried out on splits random:100 and above of emoji (docs/log.md), then frozen.
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

# Source: the above, cut down until bases are no longer trained to convergence.
# For trying out sweeps and for tests; its figures mean nothing.
SKETCH = EMOJI.with_values({"epochs": 4.0, "evaluations": 4})

# Source: the training definitions and solvers of github.com/yosinski/convnet_transfer, Caffe's reference model of 2014.
# What is different here is in docs/paper.md.
# Command: yosinski submit paper --data imagenet:PATH --profile PROFILE
# Hardware and cost: the paper says 9.5 days on a GPU for each network; 5.2e17 FLOPs for a base.
# Expected, from the published logs (mean of the 10 highest accuracies): base halves 0.625 on average, 0.615 to 0.634;
# all 1000 classes 0.576; paired with their base BnB -0.030 and AnB -0.047 at n = 5, 0.000 and -0.083 at n = 7.
# Nobody has trained it to the end with this code.
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

# Source: the same, for networks on the first images of each class only (the supplement's reduced data).
# Command: yosinski submit reduced --data imagenet:PATH -p network=caffenet -p recipe=paper-reduced --profile PROFILE
# Expected, from the published logs: 0.55 with 1300 images per class, 0.54 with 1000, 0.48 with 500, 0.38 with 250; with
# 5 to 100 they never left a loss of ln 1000, which is a failed optimisation and no effect of the data.
PAPER_REDUCED = PAPER.with_values(
    {"learning_rate": 0.0125, "step_every": 64_000, "iterations": 200_000, "evaluations": 200}
)

# Source: what is usual for this network now: Nesterov's momentum, a warm-up and one cosine instead of drops, He's
# initialiser, channel moments, the rate and batch of torchvision's reference training of AlexNet (0.01 at 256), a third
# of the paper's steps. Outputs fit the half and nothing is dropped below a frozen cut, so frozen features are the same
# in training and evaluation. docs/paper.md compares it with the above, line by line.
# Command: yosinski submit figure2 --data imagenet:PATH -p network=caffenet -p recipe=modern --profile PROFILE
# Cost: 1.7e17 FLOPs for a base on 650,000 images. What it reaches has not been measured.
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

RECIPES = {"emoji": EMOJI, "sketch": SKETCH, "paper": PAPER, "paper-reduced": PAPER_REDUCED, "modern": MODERN}

USUAL = {"alexnet32": EMOJI, "caffenet": PAPER}  # by network, where nothing else is said


def usual(network: str) -> Recipe:
    """The recipe with which a network is trained unless another one is asked for; BadInput if there is none such."""
    return USUAL[choose("network", network, USUAL)]


def recipe(name: str) -> Recipe:
    """A recipe by name."""
    return RECIPES[choose("recipe", name, RECIPES)]
