"""Emoji: 200 classes of pictures, half natural and half man-made, each drawn by five artists.

The pictures are part of the package (`emoji.npz`, built by `emoji/build.py`; licences in `LICENSES.md`). There are only
five pictures per class, so images are drawn from them with variation: each picture is rotated, sheared, scaled, moved,
mirrored and hue-shifted, placed on a textured background and covered with noise. The images of one set, class and
artist are drawn together, with their own random numbers.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from yosinski.data.card import Card
from yosinski.identity import digest

PICTURES = Path(__file__).with_name("emoji.npz")
GENERATOR = 1  # increase when the drawing below changes: the fingerprint covers this number, not the pixels
SIDE = 32
PER_PICTURE = {"train": 15, "select": 5, "test": 10}  # images drawn from each picture
UNSEEN = ("fluent",)  # not trained on by default; the style differs from all others


def card() -> Card:
    """The classes, groups and artists of the pictures."""
    with np.load(PICTURES, allow_pickle=False) as file:
        classes, groups, artists = (tuple(file[name].tolist()) for name in ("classes", "groups", "artists"))
    source = hashlib.sha256(PICTURES.read_bytes()).hexdigest()
    return Card(
        name="emoji",
        fingerprint=digest({"source": source, "generator": GENERATOR, "side": SIDE, "images": PER_PICTURE}),
        side=SIDE,
        classes=classes,
        groups=groups,
        domains=artists,
        default_domain=tuple(artist for artist in artists if artist not in UNSEEN),
        unseen=UNSEEN,
        images=PER_PICTURE,
    )


def images() -> Iterator[tuple[str, int, int, np.ndarray]]:
    """Draw all images, in order: (set, index of class, index of artist, uint8 [k, SIDE, SIDE, 3])."""
    import torch

    torch.set_num_threads(1)  # small tensors gain nothing from more threads, which would wait for busy cores
    with np.load(PICTURES, allow_pickle=False) as file:
        pictures = file["pictures"].astype(np.float32) / 255
    pictures[..., :3] *= pictures[..., 3:]
    for set_name, count in PER_PICTURE.items():
        for c, artists in enumerate(pictures):
            for a, picture in enumerate(artists):
                key = hashlib.sha256(f"emoji {GENERATOR} {set_name} {c} {a}".encode()).digest()
                noise = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
                yield set_name, c, a, draw(np.repeat(picture[None], count, 0), noise)


def draw(pictures: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Draw one image from each picture.

    pictures: float32 [m, S, S, 4], RGBA in 0..1, colours premultiplied by alpha. Returns uint8 [m, SIDE, SIDE, 3].
    """
    import torch
    from torch.nn import functional as F

    m = len(pictures)
    uniform = lambda low, high, *shape: torch.from_numpy(  # noqa: E731
        noise.uniform(low, high, (m, *shape)).astype(np.float32)
    )

    turn, shear, scale = uniform(-0.35, 0.35), uniform(-0.15, 0.15), uniform(0.95, 1.4)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    shift = uniform(-0.2, 0.2, 2)
    rows = [
        torch.stack([cos * mirror, -sin + shear, shift[:, 0]], 1),
        torch.stack([sin * mirror, cos, shift[:, 1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [m, 4, SIDE, SIDE], align_corners=False)
    rgba = F.grid_sample(torch.from_numpy(pictures).permute(0, 3, 1, 2), grid, align_corners=False)

    # Hue: a rotation of colour space about the grey axis (Rodrigues' formula).
    angle = uniform(-0.5, 0.5)[:, None, None]
    axis = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    hue = torch.cos(angle) * torch.eye(3) + torch.sin(angle) * cross + (1 - torch.cos(angle)) * axis
    colour = torch.einsum("mij,mjxy->mixy", hue, rgba[:, :3]) * uniform(0.7, 1.1, 1, 1, 1)

    # Background: two colours mixed by smooth noise plus waves.
    coarse = F.interpolate(uniform(-1, 1, 1, 6, 6), size=SIDE, mode="bicubic", align_corners=False)
    y, x = torch.meshgrid(torch.linspace(0, 1, SIDE), torch.linspace(0, 1, SIDE), indexing="ij")
    wave = uniform(-40, 40, 2)
    stripes = torch.sin(wave[:, :1, None] * x + wave[:, 1:, None] * y + uniform(0, 6.3, 1, 1))[:, None]
    mix = torch.sigmoid(2.5 * (coarse + uniform(0, 1, 1, 1, 1) * stripes))
    ground = mix * uniform(0, 1, 3, 1, 1) + (1 - mix) * uniform(0, 1, 3, 1, 1)

    image = colour + (1 - rgba[:, 3:]) * ground
    grain = torch.from_numpy(noise.standard_normal((m, 3, SIDE, SIDE), dtype=np.float32))
    image = image + grain * uniform(0, 0.06, 1, 1, 1)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
