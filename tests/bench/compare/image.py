"""A real ext4 image, of files of this machine's /usr; made once and kept."""

import json
import os
import shutil
import tempfile
import zlib

import loads
from errors import BenchError

_SOURCE = "/usr"
# No file may be more than this part of all data.
_LARGEST_PART = 8


def _regular_files(folder):
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path, os.path.getsize(path)


def choose(files, data_bytes):
    """A sample of (path, size), the same in each run, of so many bytes."""
    chosen, total = [], 0
    for path, size in sorted(files, key=lambda f: zlib.crc32(f[0].encode())):
        if size > data_bytes // _LARGEST_PART or total + size > data_bytes:
            continue
        chosen.append(path)
        total += size
    return chosen, total


def _copy(paths, folder):
    for path in paths:
        target = folder + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            shutil.copyfile(path, target)
        except PermissionError:
            pass


def _make(path, size, data_bytes):
    folder = tempfile.mkdtemp(prefix="tree.", dir=os.path.dirname(path))
    try:
        chosen, total = choose(_regular_files(_SOURCE), data_bytes)
        _copy(chosen, folder)
        loads.run_client(
            [
                *("mke2fs", "-q", "-t", "ext4", "-F", "-d", folder),
                *(path, f"{size >> 10}K"),
            ],
            timeout=1800,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return total


def _concatenate(paths, target):
    with open(target, "wb") as out:
        for path in paths:
            try:
                with open(path, "rb") as file:
                    shutil.copyfileobj(file, out)
            except PermissionError:
                pass
        return out.tell()


def cached_files(cache, size):
    """A file of exactly so many bytes: files of /usr, one after the other."""
    os.makedirs(cache, exist_ok=True)
    path = os.path.join(cache, f"files-{size >> 20}.raw")
    if not os.path.exists(path):
        loads.progress(f"collecting {size >> 20} MiB of files")
        chosen, _ = choose(_regular_files(_SOURCE), size)
        if not _concatenate(chosen, path + ".new"):
            raise BenchError(f"{_SOURCE} has no files to fill volumes with")
        _repeat_to(path + ".new", size)
        os.rename(path + ".new", path)
    _read_once(path)
    return path


def _repeat_to(path, size):
    """Makes up what is missing from the beginning."""
    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        have = file.tell()
        while file.tell() < size:
            missing = min(size - file.tell(), have, 1 << 20)
            end = file.tell()
            file.seek(end - have)
            again = file.read(missing)
            file.seek(end)
            file.write(again)
        file.truncate(size)


def _read_once(path):
    """Brings the image into the page cache, as all later copies find it."""
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def cached(cache, size, data_bytes):
    """The image's path and how many bytes of files it holds."""
    os.makedirs(cache, exist_ok=True)
    path = os.path.join(cache, f"ext4-{size >> 20}-{data_bytes >> 20}.img")
    about = path + ".json"
    if not os.path.exists(about):
        loads.progress(f"making a file system image of {size >> 20} MiB")
        total = _make(path, size, data_bytes)
        with open(about, "w", encoding="ascii") as file:
            json.dump({"data_bytes": total}, file)
    _read_once(path)
    with open(about, encoding="ascii") as file:
        return path, json.load(file)["data_bytes"]
