"""Reads single files out of a .tar.gz, in memory: nothing is ever extracted to a disk."""

import gzip
import tarfile
import zlib
from pathlib import PurePosixPath, PureWindowsPath

from keras_neuronlevel.data.specs import DataError


def read_members(path, wanted, limit):
    """Read the files named in `wanted` from the archive at `path`.

    Args:
        path: a .tar.gz file.
        wanted: base names; the folder they lie in inside the archive does not matter.
        limit: the most bytes that one of them may have.

    Returns:
        {base name: bytes} of those of `wanted` that the archive holds.

    Raises:
        DataError: the archive is damaged, or has a member that is no honest file or folder: a link,
            a device, an absolute name, a name with "..", one of `wanted` twice or too large.
    """
    found = {}
    try:
        with gzip.open(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                _refuse_dangerous(member, path)
                name = PurePosixPath(member.name).name
                if member.isfile() and name in wanted:
                    _refuse_odd(member, name in found, limit, path)
                    found[name] = archive.extractfile(member).read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged archive: {error}") from error
    return found


def _refuse_dangerous(member, path):
    parts = PurePosixPath(member.name.replace("\\", "/")).parts
    absolute = member.name.startswith(("/", "\\")) or PureWindowsPath(member.name).drive
    if absolute or ".." in parts:
        raise DataError(f"{path} is refused: its member {member.name!r} points outside of it")
    if not (member.isfile() or member.isdir()):
        raise DataError(f"{path} is refused: its member {member.name!r} is a link or a device")


def _refuse_odd(member, repeated, limit, path):
    if repeated:
        raise DataError(f"{path} is refused: it holds {member.name!r} twice")
    if member.size > limit:
        raise DataError(
            f"{path} is refused: its member {member.name!r} has {member.size} bytes, expected at most {limit}"
        )
