"""Build the data set Words: the names and keywords of the 200 emoji in English, German and other languages.

Source: the annotations of Unicode CLDR in the npm package cldr-annotations-full; licence and version stand in
yosinski/data/sources/LICENSES.md. A language is taken if it has a keyword for each of the classes in emoji/classes.json
and at least FEWEST of them in the median; English and German, which have fewer, are taken by name.

    npm install cldr-annotations-full
    python emoji/words.py node_modules --out yosinski/data/texts/words.json.xz

What comes out is compressed JSON, the same byte for byte on every run with the same versions of the package and of
Python (for its liblzma):

    version    of the package
    classes    200 names, in the order of emoji.npz
    languages  by the language's tag: `names`, one for every class, and `keywords`, for every class a sorted list
"""

import argparse
import json
import lzma
import statistics
import sys
import unicodedata
from pathlib import Path
from typing import Any

from build import load_classes

PACKAGE = "cldr-annotations-full"
FEWEST = 5  # keywords of a class, in the median
NAMED = ("en", "de")  # languages with fewer
VARIATION = "\ufe0f"  # asks for a coloured drawing; annotations leave it out


def annotations(package: Path, language: str) -> dict[str, Any]:
    """What CLDR says of every character in a language."""
    path = package / "annotations" / language / "annotations.json"
    return json.loads(path.read_text(encoding="utf-8"))["annotations"].get("annotations", {})


def characters(package: Path, classes: list[str]) -> list[str]:
    """The character of every class, found by its English name."""
    named = {of["tts"][0].replace("-", " "): char for char, of in annotations(package, "en").items() if "tts" in of}
    missing = [name for name in classes if name.replace("-", " ") not in named]
    if missing:
        sys.exit(f"no character is called {', '.join(missing)}")
    return [named[name.replace("-", " ")] for name in classes]


def words(package: Path, language: str, chars: list[str]) -> dict[str, Any] | None:
    """Names and keywords of these characters; None if one of them has no keyword."""
    told = annotations(package, language)
    entries = [told.get(char) or told.get(char.replace(VARIATION, "")) or {} for char in chars]
    if not all(entry.get("default") and entry.get("tts") for entry in entries):
        return None
    keywords = [sorted({unicodedata.normalize("NFC", word) for word in entry["default"]}) for entry in entries]
    return {"names": [unicodedata.normalize("NFC", entry["tts"][0]) for entry in entries], "keywords": keywords}


def main() -> None:
    """Write the words of all languages that have enough of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("node_modules", type=Path, help="where the npm package is installed")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args()

    package = options.node_modules / PACKAGE
    if not package.is_dir():
        sys.exit(f"package {PACKAGE} is missing: there is no {package}")
    classes, _ = load_classes(Path(__file__).parent / "classes.json")
    chars = characters(package, classes)
    languages = {}
    for language in sorted(path.name for path in (package / "annotations").iterdir()):
        found = words(package, language, chars)
        if found and (language in NAMED or statistics.median(map(len, found["keywords"])) >= FEWEST):
            languages[language] = found
    version = json.loads((package / "package.json").read_text())["version"]
    content = {"version": version, "classes": classes, "languages": languages}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    options.out.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    keywords = {language: sum(map(len, of["keywords"])) for language, of in languages.items()}
    print(f"{len(languages)} languages, {options.out.stat().st_size:,} bytes; keywords: {keywords}")


if __name__ == "__main__":
    main()
