"""Search for images below a folder: links are followed once, system folders left out."""

import os
import warnings
from pathlib import Path

from stitching.data.base import few
from stitching.data.decoding import reason

#: Endings of image files, in any case; other files are ignored.
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

#: Folders in which systems keep thumbnails, copies and deleted files, in lower case. Names that
#: begin with a dot are left out too.
SYSTEM_FOLDERS = frozenset(
    {
        "__macosx", "lost+found",  # macOS, Linux
        "$recycle.bin", "recycler", "system volume information",  # Windows
        "@eadir", "@recycle", "@tmp", "#recycle", "#snapshot",  # Synology, QNAP
    }
)  # fmt: skip


def find_images(root: Path) -> list[Path]:
    """Return the images below a folder, sorted.

    Links to files and folders are followed. Each folder is searched once, by its own path if that
    is below root; further links to it are left out. Warns of links that are left out, and of
    images that are left out because they are hidden or in a system folder.

    Raises:
        FileNotFoundError: Links with the name of an image lead nowhere.
        OSError: A folder cannot be listed.
    """
    return _Walk(root).images()


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: list[str] = []
        self.hidden: list[str] = []
        self.repeated: list[str] = []
        self.dangling: list[str] = []
        #: Folders that are or will be searched, by device and inode.
        self.known = {_identity(str(root))}

    def images(self) -> list[Path]:
        links = self._enter(str(self.root))
        while links:  # after all real folders, which are thus found by their own paths
            link = links.pop(0)
            if self._leads_back(link) or _identity(link) in self.known:
                self.repeated.append(link)
                continue
            self.known.add(_identity(link))
            links += self._enter(link)
        self._report()
        return [Path(path) for path in sorted(self.found)]

    def _enter(self, top: str) -> list[str]:
        """Search a folder and those in it; return the links to folders."""
        links, folders = [], [top]
        while folders:
            for entry in _listed(folders.pop()):
                link = entry.is_symlink()  # is_dir() raises for links in a circle
                folder = os.path.isdir(entry.path) if link else entry.is_dir()
                image = entry.name.lower().endswith(SUFFIXES)
                if entry.name.startswith(".") or entry.name.lower() in SYSTEM_FOLDERS:
                    self.hidden += [entry.path] if image else _images_in(entry.path)
                elif folder:
                    if link:
                        links.append(entry.path)
                    elif _identity(entry.path) in self.known:
                        self.repeated.append(entry.path)
                    else:
                        self.known.add(_identity(entry.path))
                        folders.append(entry.path)
                elif image and os.path.isfile(entry.path):
                    self.found.append(entry.path)
                elif link and not os.path.exists(entry.path):
                    self.dangling.append(entry.path)
        return sorted(links)

    def _leads_back(self, link: str) -> bool:
        """Return whether a link's target contains the link, or the root."""
        target = os.path.realpath(link)
        inside = (os.path.realpath(os.path.dirname(link)), os.path.realpath(self.root))
        return any(os.path.commonpath((target, path)) == target for path in inside)

    def _report(self) -> None:
        lost = [path for path in self.dangling if path.lower().endswith(SUFFIXES)]
        if lost:
            raise FileNotFoundError(
                f"{len(lost)} links below {self.root} lead nowhere: {self._few(lost)}. "
                "Bring back what they point to, or remove them"
            )
        for paths, what in (
            (self.hidden, "images below {} are hidden or in a system folder, and are not used"),
            (self.repeated, "links below {} lead to folders that are used already"),
            (self.dangling, "links below {} lead nowhere, and are not used"),
        ):
            if paths:
                text = f"{len(paths)} {what.format(self.root)}: {self._few(paths)}"
                warnings.warn(text, stacklevel=6)

    def _few(self, paths: list[str]) -> str:
        return few([os.path.relpath(path, self.root) for path in sorted(paths)])


def _listed(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise OSError(
            f"{folder} cannot be searched for images ({reason(error)}): make it "
            "readable, or move it out of data.root"
        ) from error


def _images_in(folder: str) -> list[str]:
    """Return the images of a folder that is left out; none if it cannot be listed."""
    return [
        os.path.join(where, name)
        for where, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(SUFFIXES)
    ]


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return (status.st_dev, status.st_ino)
