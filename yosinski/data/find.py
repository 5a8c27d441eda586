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
    known = look()
    if text not in known.cards:
        found = Place.of(text)
        known.cards[text] = emoji.card() if found.path is None else image_files.card(found, known.stores)
    return known.cards[text]
