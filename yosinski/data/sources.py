"""Where images come from: which module lists a data set of which kind, and how the bytes of an image are read."""

from pathlib import Path
from typing import Any

from yosinski.data import Place, cifar, folders, imagenet, lists, torchvision_sets
from yosinski.data.listing import GENERATOR, Image, Listing

LISTED = {
    "imagenet": imagenet.listed,
    "imagefolder": folders.listed,
    "tinyimagenet": folders.tiny_imagenet,
    "list": lists.listed,
    "cifar10": cifar.listed,
    "cifar100": cifar.listed,
    "torchvision": torchvision_sets.listed,
}


def listed(place: Place) -> Listing:
    """List a data set, decoding no image; BadInput says what is wrong with it."""
    return LISTED[place.kind](place)


def generator(place: Place) -> Any:
    """What the fingerprint covers of how stores of such files are made."""
    return imagenet.GENERATOR if place.kind == "imagenet" else GENERATOR


def content(place: Place, root: Path, image: Image) -> bytes:
    """The bytes of an image file, or of what stands for one."""
    if not image.file.sha256:
        return (root / image.file.path).read_bytes()
    module = torchvision_sets if place.kind == "torchvision" else cifar
    return module.content(place, image.file)
