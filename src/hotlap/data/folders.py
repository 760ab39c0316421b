"""A folder a class: the classes' folders side by side, in the splits' folders, or these in each of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from hotlap.data.class_first import class_first
from hotlap.data.listing import Item, Listing, counted, joined, listed, shown, split_named
from hotlap.data.walking import File, Tree
from hotlap.errors import UserError


def class_folders(tree: Tree) -> Listing | None:
    """The images of a tree of class folders; None if it is none.

    Folders that hold nothing but one folder are passed through. If there is a `train` folder with class
    folders in it, the folders beside it are splits; otherwise each folder is a class, and may have the splits
    in it. Images anywhere below a class's folder are of that class.

    Raises:
        UserError: there are splits to test on, but none to train on; or some classes have splits in their
            folders and others do not.
    """
    images = tree.images()
    base = _base(images, tree.folders)
    below = [(f, f.name[len(base) :].split("/")) for f in images if f.name.startswith(base)]
    children = _children(tree.folders, base)
    if not children or not any(len(parts) > 1 for _, parts in below):
        return None
    remarks: list[str] = []
    splits = {c: split for c in children if (split := split_named(c))}
    nested = {parts[0] for _, parts in below if len(parts) > 2}
    if "train" in {splits.get(c) for c in nested}:
        items, files, declared, words = _in_splits(tree, base, below, children, splits, remarks)
    elif splits and set(splits) == set(children) and nested:
        raise UserError(
            f"{tree.root} has {listed([f'{shown(c)}/' for c in sorted(splits)])} but no train/ with class"
            " folders in it; add one, or give the folder that holds the class folders"
        )
    elif set(splits) == set(children):  # splits without classes in them
        return None
    else:
        if not any(len(parts) == 2 for _, parts in below) and len(children) < 2:
            return None
        words = "class-per-folder"
        if by_class := class_first(below, tree.root):
            items, files, declared = by_class.items, by_class.files, set()
            words = by_class.layout
            remarks += by_class.remarks
        else:
            items, files, declared = _classes(below, "", base, tree.root)
        loose = sum(len(parts) == 1 for _, parts in below)
        if loose:
            remarks.append(f"{counted(loose, 'image')} beside the class folders passed over")
        declared |= {shown(c) for c in children}
    if not items:
        return None
    deep = Counter(
        i.label for i, f in zip(items, files, strict=True) if f.name.count("/") > _level(base, i) + 1
    )
    if deep:
        names = sorted(deep)
        remarks.append(f"images in subfolders of {listed(names)} count as that class's")
    if base:
        words += f" in {shown(base)}"
    used = {f.name for f in files}
    passed = Counter(tree.passed_over)
    passed["not images"] += len(tree.files) - len(images)
    passed["images of no class"] += sum(f.name not in used for f in images)
    return Listing(
        words,
        items,
        FilePayloads(tree.root, [f.name for f in files]),
        declared=frozenset(declared),
        remarks=tuple(remarks),
        passed_over={k: n for k, n in passed.items() if n},
    )


class FilePayloads:
    """The payloads of images that are files: their paths."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root, self.names = root, names

    def __call__(self, indices: Sequence[int]) -> Iterator[Path]:
        for i in indices:
            yield self.root / self.names[i]


def _level(base: str, item: Item) -> int:
    """How many folders stand before an image's class folder."""
    return base.count("/") + (1 if item.split else 0)


def _children(folders: Sequence[str], base: str) -> list[str]:
    rest = [f[len(base) :] for f in folders if f.startswith(base)]
    return [f for f in rest if "/" not in f]


def _base(images: Sequence[File], folders: Sequence[str]) -> str:
    """The folder, with a `/` at its end, in which the class folders or the splits lie; "" for the root."""
    base = ""
    while True:
        children = _children(folders, base)
        inside = [f.name[len(base) :].split("/") for f in images if f.name.startswith(base)]
        if len(children) != 1 or split_named(children[0]) == "train":
            return base
        if not inside or any(len(parts) < 3 for parts in inside):
            return base
        base += f"{children[0]}/"


def _classes(
    below: Sequence[tuple[File, list[str]]], split: str, base: str, root: Path
) -> tuple[list[Item], list[File], set[str]]:
    """The images in class folders; `below` has each with its parts from the class folder on."""
    items, files = [], []
    for file, parts in below:
        if len(parts) > 1:
            items.append(Item(shown(file.name), shown(parts[0]), split, file.stamp))
            files.append(file)
    return items, files, {i.label for i in items}


def _in_splits(
    tree: Tree,
    base: str,
    below: Sequence[tuple[File, list[str]]],
    children: Sequence[str],
    splits: dict[str, str],
    remarks: list[str],
) -> tuple[list[Item], list[File], set[str], str]:
    by_child: dict[str, list[tuple[File, list[str]]]] = defaultdict(list)
    for file, parts in below:
        by_child[parts[0] if len(parts) > 1 else ""].append((file, parts[1:]))
    items: list[Item] = []
    files: list[File] = []
    declared: set[str] = set()
    for child in children:
        if child not in splits:
            if by_child[child]:
                what = counted(len(by_child[child]), "image")
                remarks.append(f"{shown(child)}/ is neither train, val nor test: its {what} passed over")
            continue
        more, found, _ = _classes(by_child[child], splits[child], f"{base}{child}/", tree.root)
        items, files = items + more, files + found
        if splits[child] == "train":
            declared |= {shown(c) for c in _children(tree.folders, f"{base}{child}/")}
        loose = len(by_child[child]) - len(more)
        if loose:
            remarks.append(f"{counted(loose, 'image')} in {shown(child)}/ without a class folder passed over")
    if by_child[""]:
        remarks.append(f"{counted(len(by_child['']), 'image')} beside {listed(sorted(splits))} passed over")
    with_images = [c for c in splits if any(len(parts) > 1 for _, parts in by_child[c])]
    order = sorted(with_images, key=lambda c: ("train", "val", "test").index(splits[c]))
    for split in ("train", "val", "test"):
        same = [f"{shown(c)}/" for c in order if splits[c] == split]
        remarks += [f"{' and '.join(same)} together are the {split} images"] if len(same) > 1 else []
    words = [f"{shown(c)}/" for c in order]
    return items, files, declared, f"class-per-folder with {joined(words)}"
