"""Pictures and weights as people have them: a folder of classes, and a checkpoint of a model of torchvision."""

from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image, ImageDraw

KINDS = {"disc": "crimson", "box": "royalblue", "bar": "gold", "wedge": "seagreen"}


def draw(path: Path, images: int = 40, side: int = 48) -> None:
    """So many pictures of each kind: one coloured shape on grey-brown, PNG."""
    random = np.random.default_rng(0)
    for kind, colour in KINDS.items():
        (path / kind).mkdir(parents=True)
        for k in range(images):
            picture = Image.new("RGB", (side, side), tuple(map(int, random.integers(90, 160, 3))))
            pen = ImageDraw.Draw(picture)
            left, top = random.integers(2, side // 4, 2)
            size = random.integers(side // 2, 2 * side // 3)
            box = [int(left), int(top), int(left + size), int(top + size)]
            match kind:
                case "disc":
                    pen.ellipse(box, fill=colour)
                case "box":
                    pen.rectangle(box, fill=colour)
                case "bar":
                    pen.line(box, fill=colour, width=10)
                case "wedge":
                    pen.pieslice(box, 0, 120, fill=colour)
            picture.save(path / kind / f"{k}.png")


@torch.no_grad()
def resnet18(outputs: int = 6) -> torch.nn.Module:
    """Random weights, with statistics of batch norm that are not those at the beginning, in evaluation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.resnet18(num_classes=outputs)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer += 0.1 * torch.rand_like(buffer)
    return model.eval()
