"""Texts of data sets: where a data set is found, and the geometry of its stored images.

The forms of a text:

    emoji                     travels with the package
    imagenet:PATH             ImageNet's directory
    imagefolder:PATH          folders of classes, in train/ and val/ or not
    inputfolders:PATH         such a folder for each of several inputs, side by side, with the same names in them
    list:PATH                 text files with an image and a label on every line, or with columns of several
    cifar10:PATH, cifar100:PATH, tinyimagenet:PATH     as they are distributed
    torchvision:NAME:ROOT     what torchvision calls NAME, in the folder that it calls root
    words:LANGUAGE            keywords of the emoji, which travel with the package; of several languages words:en+fr
    textfile:PATH             texts with labels: a table (CSV, TSV, Parquet), one for each set, or folders of text files

    KIND-SIDE:PATH            resized to SIDE x SIDE
    KIND-SIDE-crop:PATH       the shorter side resized to SIDE, then the square in the middle
    KIND-SIDE-warp:PATH       everything resized to SIDE x SIDE, whatever the aspect ratio
    KIND-SIDE-crop-bicubic:PATH    with another filter: bilinear, bicubic or lanczos
    KIND-SIDE-crop-12bit:PATH      greys of 16 bits use 12 of them

Texts have no geometry, and options after a comma instead:

    words:en,unseen                          train, select and test share no keyword
    textfile:PATH,text=COLUMN,label=COLUMN   the columns of a table, if they are not called text and label
    ...,tokens=PATH                          word pieces of the tokenizer in this directory, not letters

ImageNet's default is 256-warp-lanczos, as in the paper; cifar and tinyimagenet keep their own side. For the others
the default side depends on the network that is trained (`suited`). All but ImageNet are resized as in torchvision, with
an antialiased bilinear filter, by default.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from yosinski.errors import BadInput

FORMS = (
    "emoji",
    "imagenet:PATH",
    "imagefolder:PATH",
    "inputfolders:PATH",
    "list:PATH",
    "cifar10:PATH",
    "cifar100:PATH",
    "tinyimagenet:PATH",
    "torchvision:NAME:ROOT",
    "words:LANGUAGE",
    "textfile:PATH",
)

TEXTS = {"words": ("unseen", "tokens"), "textfile": ("text", "label", "tokens")}  # kinds of texts and their options


FILTERS = ("bilinear", "bicubic", "lanczos")  # for resizing images


GEOMETRY = f"KIND-SIDE[-crop|-warp][-{'|-'.join(FILTERS)}][-DEPTHbit]:PATH"  # of all kinds but emoji


SIDES = range(16, 1025)  # allowed sides of stored images


DEPTHS = range(9, 16)  # allowed numbers of used bits in greys of 16 bits


LONGEST = 16  # largest ratio of sides: longer images are cut to their middle


RULE = 2  # version of how image files are listed and decoded; docs/formats.md also describes rule 1


EARLIER = "listed by names and sizes, and prepared, by an earlier version"  # for messages


MAYBE_FILES = ("list", "cifar10", "cifar100", "textfile")  # kinds that may be one file instead of a directory


NATIVE = {"cifar10": 32, "cifar100": 32, "tinyimagenet": 64}  # side of kinds whose images all have one size


MARGIN = 8 / 7  # ratio of the stored side to the network's: 256 for 224


TEXT = re.compile(
    r"(imagenet|imagefolder|inputfolders|list|cifar10|cifar100|tinyimagenet|torchvision)"
    rf"(?:-(\d+))?(?:-(warp|crop))?(?:-({'|'.join(FILTERS)}))?(?:-(\d+)bit)?(?::(.*))?"
)


@dataclass(frozen=True)
class Place:
    """Where a data set is found, and the geometry of its store, parsed from its text.

    `dataset` is torchvision's name of the data set, if it is one of torchvision's. `depth` is the number of used bits
    in greys of 16 bits, if the files do not tell. Of texts: `columns` of a table with texts and labels, `tokens` the
    directory of a tokenizer (None: letters), `languages` of words, and whether their sets share none (`unseen`).
    """

    kind: str
    path: Path | None = None
    side: int = 256
    fit: str = "warp"
    interpolation: str = "bilinear"
    dataset: str = ""
    depth: int = 16
    columns: tuple[str, str] = ("text", "label")
    tokens: Path | None = None
    languages: tuple[str, ...] = ()
    unseen: bool = False

    @classmethod
    def of(cls, text: str) -> "Place":
        """Parse the text of a data set. Paths become absolute; the default side is the source's, or 256."""
        if text == "emoji":
            return cls("emoji", side=32)
        if is_text(text):
            return _of_texts(text)
        match = TEXT.fullmatch(text)
        if match is None:
            raise BadInput(f"unknown data set {text!r}; choose from: {', '.join(FORMS)}; with a side: {GEOMETRY}")
        kind, side, fit, interpolation, depth, path = match.groups()
        dataset = ""
        if kind == "torchvision":
            dataset, _, path = (path or "").partition(":")
        if not path:
            where = "NAME:ROOT" if kind == "torchvision" else "PATH"
            spelled = text.partition(":")[0]
            raise BadInput(f"data set {text!r} does not say where its images are; write {spelled}:{where}")
        if side and int(side) not in SIDES:
            raise BadInput(f"data set {text!r}: the side must be {SIDES[0]} to {SIDES[-1]}, not {side}")
        if depth and kind in NATIVE:
            raise BadInput(f"data set {text!r}: {depth}bit is for greys of 16 bits; the images of {kind} have 8")
        if depth and int(depth) not in DEPTHS:
            raise BadInput(
                f"data set {text!r}: of greys of 16 bits {DEPTHS[0]} to {DEPTHS[-1]} may be said to be used, "
                f"not {depth}"
            )
        if kind in NATIVE:
            fit = "crop"  # of squares nothing is cut off
        return cls(
            kind,
            Path(path).expanduser().absolute(),
            int(side or NATIVE.get(kind, 256)),
            fit or ("warp" if kind == "imagenet" else "crop"),
            interpolation or usual_filter(kind),
            dataset,
            int(depth or 16),
        )

    @property
    def name(self) -> str:
        """The text before the path, without defaults. The names of its stores begin with it."""
        if self.kind == "emoji" or self.kind in TEXTS:
            return self.kind
        filtered = () if self.interpolation == usual_filter(self.kind) else (self.interpolation,)
        deep = () if self.depth == 16 else (f"{self.depth}bit",)
        if self.kind == "imagenet":
            fit = () if self.fit == "warp" else (self.fit,)
            side = () if (self.side, *fit, *filtered, *deep) == (256,) else (self.side,)
        else:
            side, fit = (self.side,), () if self.kind in NATIVE else (self.fit,)
        return "-".join(map(str, (self.kind, *side, *fit, *filtered, *deep)))

    @property
    def there(self) -> bool:
        """Whether its files exist: a directory, or a file for kinds that may be one."""
        return self.path is not None and (self.path.is_dir() or (self.kind in MAYBE_FILES and self.path.exists()))

    @property
    def source(self) -> str:
        """The text of the data set without its geometry, or without its options."""
        if self.languages:
            return f"{self.kind}:{'+'.join(self.languages)}"
        return ":".join(str(part) for part in (self.kind, self.dataset, self.path) if part)

    @property
    def text(self) -> str:
        """The normal form of the text: equal for all texts of the same store."""
        return ",".join([self.name + self.source.removeprefix(self.kind), *self._options])

    @property
    def _options(self) -> list[str]:
        """The options of a text, as they are written."""
        given = {"text": self.columns[0], "label": self.columns[1], "tokens": self.tokens}
        usual = {"text": "text", "label": "label", "tokens": None}
        said = [f"{name}={value}" for name, value in given.items() if value != usual[name]]
        return ["unseen"] * self.unseen + said


def is_text(text: str) -> bool:
    """Whether this is the text of a data set of texts, not of images."""
    return re.split("[:,]", text)[0] in TEXTS


def _of_texts(text: str) -> Place:
    """The place of a data set of texts."""
    kind = re.split("[:,]", text)[0]
    named = "|".join(TEXTS[kind])
    match = re.fullmatch(rf"(.*?)((?:,(?:{named})(?:=[^,]*)?)*)", text.removeprefix(kind).removeprefix(":"))
    assert match is not None
    place = match[1]
    given = {name: value for name, _, value in (one.partition("=") for one in match[2].split(",")[1:])}
    empty = [name for name, value in given.items() if bool(value) == (name == "unseen")]
    if empty:
        form = {"unseen": "unseen", "tokens": "tokens=PATH"}.get(empty[0], f"{empty[0]}=COLUMN")
        raise BadInput(f"data set {text!r}: write {form}")
    tokens = Path(given["tokens"]).expanduser().absolute() if "tokens" in given else None
    if kind == "words":
        return Place(kind, side=0, tokens=tokens, languages=tuple((place or "en").split("+")), unseen="unseen" in given)
    if not place:
        raise BadInput(f"data set {text!r} does not say where its texts are; write {kind}:PATH")
    columns = given.get("text", "text"), given.get("label", "label")
    return Place(kind, Path(place).expanduser().absolute(), 0, columns=columns, tokens=tokens)


def usual_filter(kind: str) -> str:
    """The default filter for resizing images of a kind."""
    return "lanczos" if kind == "imagenet" else "bilinear"


def suited(
    text: str, side: int, stored: int | None = None, interpolation: str | None = None, tokens: Path | None = None
) -> str:
    """The text of a data set, with the stored side that suits a network with an input of side x side pixels.

    For photographs it is `stored`, or 8/7 of the side so that crops differ (224 -> 256, 299 -> 342, 64 -> 73).
    cifar and tinyimagenet keep their own side unless the network's is larger. `interpolation` is used unless the text
    names a filter. A text with a side is returned unchanged, and so are emoji and imagenet. `tokens`, the directory of
    a network's tokenizer, is used for texts that name none.
    """
    if is_text(text):
        place = Place.of(text)
        return replace(place, tokens=place.tokens or tokens).text
    place, spelled = Place.of(text), TEXT.fullmatch(text)
    if spelled is None or spelled[2] or place.kind == "imagenet":
        return text
    if interpolation is not None and not spelled[4]:
        place = replace(place, interpolation=interpolation)
    if place.kind in NATIVE:
        return replace(place, side=max(side, place.side)).text
    return replace(place, side=min(max(stored or round(MARGIN * side), SIDES[0]), SIDES[-1])).text


def earlier(text: str, rule: int) -> bool:
    """Whether a half of this data set and rule has image files that an earlier version listed and prepared."""
    return rule < RULE and TEXT.fullmatch(text) is not None
