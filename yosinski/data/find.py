"""Cards of data sets, found by their texts."""

from pathlib import Path

from yosinski.data import store
from yosinski.data.card import Card
from yosinski.data.pictures import image_files
from yosinski.data.place import Place, is_text
from yosinski.data.reading import reading
from yosinski.data.sources import emoji
from yosinski.data.texts import cards as of_texts
from yosinski.errors import BadInput, printable


def card(text: str) -> Card:
    """The card of a data set, without decoding images; within `one_reading` it is found once.

    Image files are always listed anew. A file is read only if its present state is not in the cache of hashes. BadInput
    if the text names no data set, if the files are not as they should be, or if they have changed since a store was
    made of them.
    """
    memory = reading()
    if text not in memory.cards:
        place = Place.of(text)
        if is_text(text):
            memory.cards[text] = _of_texts(place, memory.stores)
        else:
            memory.cards[text] = emoji.card() if place.path is None else image_files.card(place, memory.stores)
    return memory.cards[text]


def _of_texts(place: Place, stores: Path) -> Card:
    """The card of texts. If the files are gone, it is read from the store."""
    if place.path is None:
        return of_texts.card(place)
    made = [(path, told) for path, told in store.made(stores, place.name) if told["data"] == place.text]
    if not place.there:
        if len(made) == 1:
            return store.described_card(made[0][1])
        raise BadInput(f"data set {printable(place.text)}: no file or directory {printable(place.path)}")
    found = of_texts.card(place)
    if made and found.fingerprint not in [told["fingerprint"] for _, told in made]:
        change = f"{made[-1][0]} was made of {printable(place.path)} when that held other texts"
        raise BadInput(f"{change}; undo that, or delete the store, or give another --stores")
    return found
