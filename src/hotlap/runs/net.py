"""The net of a recipe, drawn for the images it is made for, beside that of the recipe it is a diff of."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hotlap import data as datasets
from hotlap.errors import UserError
from hotlap.files import Notify, silent, write_atomic
from hotlap.inspect.outline import outline
from hotlap.nets.compare import compared
from hotlap.nets.describe import LITES, EfficientNetLite
from hotlap.nets.outline import Outline
from hotlap.plan.recipe import Recipe, Set
from hotlap.recipes import BUILTIN, find
from hotlap.report.net_picture import net_file
from hotlap.runs.folder import spec_of
from hotlap.spec import DataSpec
from hotlap.transfer.trunk import imagenet_spec

Size = int | tuple[int, int]


@dataclass(frozen=True)
class NetPicture:
    """A recipe's net; a notebook shows it as its picture.

    Args:
        name: of the recipe.
        outline: its layers, with their shapes, parameters and multiply-adds.
    """

    name: str
    outline: Outline

    @property
    def svg(self) -> str:
        """The picture as the text of a file; see `hotlap.report.net_picture`."""
        return net_file(self.outline, self.name)

    def save(self, path: str | Path) -> Path:
        """Write the picture to a file, which should be called `.svg`; its path.

        Raises:
            UserError: it cannot be written.
        """
        file = Path(path).expanduser()
        write_atomic(file, self.svg.encode())
        return file

    def _repr_svg_(self) -> str:
        return self.svg


def draw_net(
    recipe: str | Recipe,
    *,
    against: str | Recipe | None = None,
    data: str | Path | None = None,
    data_dir: Path | None = None,
    size: Size | None = None,
    classes: int | None = None,
    **settings: Any,
) -> NetPicture:
    """The net of a recipe, drawn: `draw_net("page/10-resnet9").save("net.svg")`.

    It is built, without memory for its weights, and traced; nothing is trained, and no image is decoded.

    Args:
        recipe: a recipe, the name of one, a TOML file or a run's folder.
        against: the recipe whose net it is compared with; by default the one that it is a diff of.
        data: a set by name, or a path, for whose images and classes the net is; by default what the recipe is
            made for.
        data_dir: what a table's paths start from.
        size: pixels of an image, its side or (height, width), where they are not to be the data's.
        classes: how many, where they are not to be the data's.
        settings: values of the plan, as in `hotlap.train`: `net__widths=[32, 64, 64]`.

    Raises:
        UserError: there is no such recipe or data; the net cannot be built for such images; the recipe is for
            images of one's own, and neither `data` nor `size` and `classes` say what these are.
    """
    made = find(recipe) if isinstance(recipe, str) else recipe
    if settings:
        made = made.then(made.name, *(Set(k.replace("__", "."), v) for k, v in settings.items()))
    folder = run_of(recipe) if isinstance(recipe, str) else None
    spec = spec_for(made, data, data_dir=data_dir, folder=folder, size=size, classes=classes)
    other = find(against) if isinstance(against, str) else against
    return picture_of(made, spec, other or base_of(made))


def picture_of(recipe: Recipe, spec: DataSpec, against: Recipe | None) -> NetPicture:
    """A recipe's net for data like `spec`'s, compared with that of another if that can be built for it too.

    Raises:
        UserError: the recipe's net cannot be built for such images.
    """
    made = outline(recipe.plan().net, spec)
    if against is not None:
        with suppress(UserError):
            made = compared(made, outline(against.plan().net, spec), against.name)
    return NetPicture(recipe.name, made)


def net_of(recipe: Recipe, spec: DataSpec, against: Recipe | None) -> Outline | None:
    """As `picture_of`, only the layers; None where the net does not go with the data."""
    with suppress(UserError):
        return picture_of(recipe, spec, against).outline
    return None


def base_of(recipe: Recipe) -> Recipe | None:
    """What a recipe is a diff of, if that is built in; of one that does not say, the built-in of its name."""
    name = recipe.base or recipe.name
    return None if BUILTIN.get(name) == recipe else BUILTIN.get(name)


def run_of(recipe: str) -> Path | None:
    """The folder of the run that a recipe was asked for by; None if it was by another name."""
    path = Path(recipe).expanduser()
    folder = path.parent if path.name == "recipe.toml" else path
    return folder if recipe not in BUILTIN and folder.is_dir() else None


def spec_for(
    recipe: Recipe,
    data: str | Path | None = None,
    *,
    data_dir: Path | None = None,
    folder: Path | None = None,
    size: Size | None = None,
    classes: int | None = None,
    notify: Notify = silent,
    **loading: Any,
) -> DataSpec:
    """What the images are that a recipe's net is drawn for; only shape and classes can be relied on.

    Args:
        folder: of the run that the recipe is from, if it is from one.
        loading: more arguments of `hotlap.data.load`.

    All others, and errors, are those of `draw_net`.
    """
    spec = known(recipe, data, data_dir, folder, notify, loading)
    if spec is None:
        if size is None or classes is None:
            raise UserError(
                f"{recipe.name} is for images of your own: give them with --data, or --size and --classes"
            )
        spec = DataSpec((3, 1, 1), (), 1, 1, (0.0,) * 3, (0.0,) * 3)
    if size is not None:
        spec = replace(spec, shape=(spec.channels, *((size, size) if isinstance(size, int) else size)))
    if classes is not None:
        spec = replace(spec, class_names=tuple(f"class {i}" for i in range(classes)))
    return spec


def known(
    recipe: Recipe,
    data: str | Path | None,
    data_dir: Path | None,
    folder: Path | None,
    notify: Notify,
    loading: dict[str, Any],
) -> DataSpec | None:
    """The images of `data`, of a run, or those that a recipe is made for; None if none of these says."""
    if data is None and folder is not None and (found := spec_of(folder)) is not None:
        return found
    net = recipe.plan().net
    source = recipe.data if data is None else data
    if not source:
        return imagenet_spec(net.variant) if isinstance(net, EfficientNetLite) else None
    if (named := datasets.known_spec(str(source))) is not None:
        return named
    survey = datasets.survey(source, data_dir=data_dir, notify=notify, **loading)
    if survey is None:
        return None
    if isinstance(net, EfficientNetLite):
        side = LITES[net.variant].size
        return replace(survey.spec, shape=(3, side, side))
    return survey.spec
