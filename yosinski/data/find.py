"""Cards of data sets, found by their texts."""

from yosinski.data import image_files
from yosinski.data.card import Card
from yosinski.data.look import look
from yosinski.data.place import Place
from yosinski.data.sources import emoji


def card(text: str) -> Card:
    """The card of a data set, decoding no image; within `one_look` it is looked for once.

    Image files are listed for it, whatever was listed before; what they hold is read where it is not known of a
    file in its present state. BadInput if the text is none of a data set, if something is wrong with the files, or if
    they are no longer those that a store was made of.
    """
    memory = look()
    if text not in memory.cards:
        place = Place.of(text)
        memory.cards[text] = emoji.card() if place.path is None else image_files.card(place, memory.stores)
    return memory.cards[text]
