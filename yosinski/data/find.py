"""Cards of data sets, found by their texts."""

from yosinski.data import image_files
from yosinski.data.card import Card
from yosinski.data.place import Place
from yosinski.data.reading import reading
from yosinski.data.sources import emoji


def card(text: str) -> Card:
    """The card of a data set, without decoding images; within `one_reading` it is found once.

    Image files are always listed anew. A file is read only if its present state is not in the cache of hashes. BadInput
    if the text names no data set, if the files are not as they should be, or if they have changed since a store was
    made of them.
    """
    memory = reading()
    if text not in memory.cards:
        place = Place.of(text)
        memory.cards[text] = emoji.card() if place.path is None else image_files.card(place, memory.stores)
    return memory.cards[text]
