"""Kinds of data sets: which module lists a data set, and how the bytes of an image are read."""

from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.data.place import Place
from yosinski.data.sources import cifar, folders, hashes, imagenet, lists, torchvision_sets
from yosinski.data.sources.listing import GENERATOR, Image, Listing
from yosinski.data.sources.scanning import State
from yosinski.environment import uncollected
from yosinski.errors import BadInput
from yosinski.identity import digest

LISTED = {
    "imagenet": imagenet.list_images,
    "imagefolder": folders.list_images,
    "inputfolders": folders.list_inputs,
    "tinyimagenet": folders.tiny_imagenet,
    "list": lists.list_images,
    "cifar10": cifar.list_images,
    "cifar100": cifar.list_images,
    "torchvision": torchvision_sets.list_images,
}
# Kinds that take long to list. The last listing is reused if all files that it was read from are unchanged.
READ_FROM = {
    "cifar10": cifar.read_from,
    "cifar100": cifar.read_from,
    "torchvision": torchvision_sets.read_from,
}


def list_images(place: Place) -> Listing:
    """List a data set as it is now, without decoding images. BadInput if something is wrong with it."""
    with uncollected():  # with a million files collecting takes half of the time
        return _list_images(place)


def _list_images(place: Place) -> Listing:
    listing = LISTED[place.kind](place)
    read = imagenet.sample(listing.images) if place.kind == "imagenet" else listing.images
    rows = [(image.file, image.file.state) for image in read if image.file.state is not None]
    paths = [listing.where(file) for file, _ in rows]
    for (file, _), sha256 in zip(rows, hashes.sha256(place.source, paths, [state for _, state in rows]), strict=True):
        file.sha256 = sha256
    return listing


def summary(place: Place) -> dict[str, Any]:
    """The data of a data set's card, as it is now (see `Listing.summary`). Listed only if the files have changed."""
    if place.kind not in READ_FROM:
        return list_images(place).summary
    files_now = READ_FROM[place.kind](place)
    of = _content(place, files_now)
    note = files.caches() / f"listing-{digest(place.source)}.json"
    with suppress(OSError, BadInput, KeyError):
        content = files.read_json(note)
        if content["of"] == of:
            return content["summary"]
    current = list_images(place).summary
    if READ_FROM[place.kind](place) == files_now:
        with suppress(OSError):
            files.write_json(note, {"source": place.source, "of": of, "summary": current})
    return current


def _content(place: Place, read: Sequence[tuple[str, Path, State]]) -> str:
    """Hash of everything that a listing depends on: content and names of these files, and the versions of readers."""
    contents = hashes.sha256(place.source, [str(path) for _, path, _ in read], [state for _, _, state in read])
    reader = version("torchvision") if place.kind == "torchvision" else ""
    names = [name for name, _, _ in read]
    return digest([place.source, generator(place), reader, sorted(zip(names, contents, strict=True))])


def generator(place: Place) -> Any:
    """What the fingerprint covers of how stores of such files are made: versions and seeds."""
    return imagenet.GENERATOR if place.kind == "imagenet" else GENERATOR


def content(place: Place, root: Path, image: Image) -> bytes:
    """The bytes of an image file, or of an image within a file as an image file."""
    if image.file.state is not None:
        return (root / image.file.path).read_bytes()
    module = torchvision_sets if place.kind == "torchvision" else cifar
    return module.content(place, image.file)
