"""Data sets: what they are (`Card`, without torch), where their images lie (`store`), how they flow (`stream`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from yosinski.spec import choose


@dataclass(frozen=True)
class Card:
    """What is known of a data set without looking at an image.

    `groups` holds one group per class and `domains` the styles or sources in which every class is pictured; either may
    be empty. Halves that name no domain use `default_domain`; test images of the `unseen` ones are evaluated apart.
    `images` counts the images of each set per class and domain.
    The fingerprint covers the source's bytes and the generator's version, never decoded or drawn pixels.
    """

    name: str
    fingerprint: str
    side: int
    classes: tuple[str, ...]
    groups: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    default_domain: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    images: Mapping[str, int] = field(default_factory=dict)


DATA_SETS = ("emoji",)


def card(name: str) -> Card:
    """The card of a data set, by name."""
    from yosinski.data import emoji

    choose("data set", name, DATA_SETS)
    return emoji.card()
