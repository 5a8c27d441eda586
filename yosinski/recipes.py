"""Named recipes, each with its source, command, hardware, cost and what it reached."""

from yosinski.spec import Recipe, choose

# Source: tried out on splits random:100 and above of emoji (docs/log.md), then frozen.
# Command: yosinski run figure2
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

RECIPES = {"emoji": EMOJI, "sketch": SKETCH}


def recipe(name: str) -> Recipe:
    """A recipe by name."""
    return RECIPES[choose("recipe", name, RECIPES)]
