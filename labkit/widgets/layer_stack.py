"""layer_stack: weigh the layers of images, see what they share, and what of them is dead weight.

Chapters 7 and 9. A bar for each layer; the hatched part are files that a
higher layer has replaced or deleted: unseen, and still part of the image.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import traitlets

from labkit.images import store
from labkit.observe import stacks
from labkit.observe.stacks import Layer, LayerWeight
from labkit.paths import Paths
from labkit.widgets import plain, svg
from labkit.widgets.base import LabWidget, assets


class LayerStack(LabWidget):
    """The layers of one or more images, the topmost first; a click shows a layer's largest files.

    `images` has for each name its layers, the lowest first, as an image's
    config has them. `chosen` is the image whose eye looks at the files.
    """

    _esm, _css = assets("layer_stack")

    images: "traitlets.List[str]" = traitlets.List(help="the names, in the order of the columns").tag(
        sync=True
    )
    rows: "traitlets.List[dict[str, Any]]" = traitlets.List(help="one for each layer, see describe").tag(
        sync=True
    )
    chosen = traitlets.Unicode(help="whose view decides what is hidden").tag(sync=True)
    totals: "traitlets.Dict[str, str]" = traitlets.Dict(help="a sentence for each image").tag(sync=True)

    def __init__(self, images: Mapping[str, Sequence[Layer]]) -> None:
        if not images:
            raise TypeError('name at least one image with its layers: LayerStack({"app": layers})')
        weights = stacks.weigh(images)
        names = {layer.digest: f"layer {number}" for number, layer in enumerate(_lowest_first(weights), 1)}
        super().__init__(
            images=[plain.printable(name) for name in images],
            rows=[describe(weight, names) for weight in weights],
            chosen=plain.printable(next(iter(images))),
            totals={plain.printable(name): total(name, weights) for name in images},
        )

    @classmethod
    def of(cls, *names: str) -> Self:
        """The layers of images of the lab, by their names, with the steps that made them."""
        paths = Paths.from_environment()
        return cls({name: layers_of(paths, name) for name in names})

    @traitlets.validate("chosen")
    def _is_one_of_them(self, proposal: Any) -> str:
        if proposal["value"] not in self.images:
            raise traitlets.TraitError(f"{proposal['value']!r} is none of {', '.join(self.images)}")
        return str(proposal["value"])

    def summary(self) -> str:
        """How many layers, and what the chosen image weighs."""
        return f"{plain.counted(len(self.rows), 'layer')}. {self.totals[self.chosen]}"

    def text(self) -> str:
        """A table, the topmost layer first; ● says that an image has the layer."""
        head = ["layer", "size", "hidden", *self.images, "made by"]
        body = [
            [
                row["name"],
                plain.amount(row["size_bytes"]),
                plain.amount(row["hidden"][self.chosen]) if row["hidden"].get(self.chosen) else "",
                *("●" if name in row["images"] else "" for name in self.images),
                plain.fit(row["created_by"], 48),
            ]
            for row in self.rows
        ]
        return "\n".join(["LayerStack", *plain.grid([head, *body], right=(1, 2)), *self.totals.values()])

    def picture(self) -> str:
        """The stack as a drawing."""
        return draw(
            svg.Drawing(self.summary()), self.images, self.rows, self.chosen, self.totals[self.chosen]
        )


def layers_of(paths: Paths, name: str) -> list[Layer]:
    """An image's layers, the lowest first; what its history says of each."""
    image = store.get(paths, name)
    steps = [step.created_by for step in store.config(paths, image).history if not step.empty_layer]
    return [
        Layer(f"sha256:{layer}", store.layer_directory(paths, layer), said)
        for layer, said in itertools.zip_longest(image.layers, steps[: len(image.layers)], fillvalue="")
    ]


def _lowest_first(weights: Sequence[LayerWeight]) -> list[Layer]:
    return [weight.layer for weight in reversed(weights)]


def total(name: str, weights: Sequence[LayerWeight]) -> str:
    """What an image weighs, how much of it others have too, how much nobody sees."""
    own = [weight for weight in weights if name in weight.images]
    size = sum(weight.size_bytes for weight in own)
    shared = sum(weight.size_bytes for weight in own if len(weight.images) > 1)
    hidden = sum(weight.hidden_bytes[name] for weight in own)
    said = [f"{plain.printable(name)}: {plain.amount(size)} in {plain.counted(len(own), 'layer')}"]
    said += [f"{plain.amount(shared)} shared"] if shared else []
    said += [f"{plain.amount(hidden)} hidden, and still there"] if hidden else []
    return ", ".join(said)


def describe(weight: LayerWeight, names: Mapping[str, str]) -> dict[str, Any]:
    """A row as it is drawn, with the story that a click tells for each image."""
    return {
        "digest": weight.layer.digest,
        "name": names[weight.layer.digest],
        "created_by": plain.printable(weight.layer.created_by),
        "size_bytes": weight.size_bytes,
        "count": weight.files,
        "images": [plain.printable(name) for name in weight.images],
        "hidden": {plain.printable(name): lost for name, lost in weight.hidden_bytes.items()},
        "files": [
            {
                "path": plain.printable(file.path),
                "size_bytes": file.size_bytes,
                "hidden_by": {
                    plain.printable(name): names.get(by, "") for name, by in file.hidden_by.items()
                },
            }
            for file in weight.biggest
        ],
    }


LEFT, BAR, ROW, TOP = 316.0, 250.0, 30.0, 62.0


def draw(
    drawing: svg.Drawing, images: Sequence[str], rows: Sequence[dict[str, Any]], chosen: str, said: str
) -> str:
    """A bar for each layer, its hidden part outlined; a dot for each image that has it."""
    drawing.text(16, 26, "What each layer weighs", "f-ink bold")
    first = LEFT + BAR + 84
    width = min(110.0, (drawing.width - 16 - first) / len(images))
    columns = [first + width * (number + 0.5) for number in range(len(images))]
    for x, name in zip(columns, images, strict=True):
        drawing.text(
            x, 48, name, f"f-{'ink bold' if name == chosen else 'soft'} small", "middle", room=width - 8
        )
    most = max([row["size_bytes"] for row in rows], default=0) or 1
    for number, row in enumerate(rows):
        y, hue = TOP + ROW * number, svg.hue(len(rows) - number)
        drawing.text(16, y + 19, row["name"], f"f-{hue} bold")
        drawing.text(84, y + 19, row["created_by"], "f-ink small mono", room=LEFT - 96)
        filled, lost = BAR * row["size_bytes"] / most, BAR * row["hidden"].get(chosen, 0) / most
        drawing.box(LEFT, y + 5, max(2.0, filled), ROW - 10, f"f-{hue} tint s-{hue}", 3)
        if lost:
            drawing.box(LEFT + filled - lost, y + 5, lost, ROW - 10, "f-paper s-alarm dashed", 3)
        drawing.text(LEFT + BAR + 64, y + 19, plain.amount(row["size_bytes"]), "f-ink small", "end")
        for x, name in zip(columns, images, strict=True):
            kind = f"f-{hue}" if name in row["images"] else "none s-edge"
            drawing.add("circle", cx=x, cy=y + ROW / 2, r=5, kind=kind)
    bottom = TOP + ROW * len(rows) + 22
    drawing.text(16, bottom, said, "f-ink", room=svg.WIDTH - 32)
    drawing.text(
        16,
        bottom + 18,
        "dashed: files that a higher layer hides · dots: the images that have a layer",
        "f-soft small",
    )
    return drawing.finish(bottom + 32)
