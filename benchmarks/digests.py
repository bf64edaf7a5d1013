"""What the cache of digests saves: seconds that the digests of many files take.

    python benchmarks/digests.py [--files 20000]

Without the cache, once from the disk and once from the system's memory; with a new cache; and with
one that knows the files.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from tokencompose_core.store.digest_cache import DigestCache
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.map_in_threads import map_in_threads


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure_digests(Path(name), arguments.files)


def measure_digests(folder: Path, num_files: int, size: int = 120_000) -> None:
    """Print the seconds that digests of files take without the cache, with a new one, with it."""
    files = folder / "files"
    files.mkdir()
    paths = [files / str(number) for number in range(num_files)]
    for path in paths:
        path.write_bytes(os.urandom(size))
    time.sleep(2.5)
    print(f"digests of {num_files} files of {size} bytes")

    def timed(title: str, digest: Any) -> list[str]:
        begin = time.perf_counter()
        found = list(map_in_threads(digest, paths))
        print(f"{title:26} {time.perf_counter() - begin:6.2f} s")
        return found

    os.sync()
    for path in paths:  # out of the system's memory, as a large set is
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    expected = timed("every file read from disk", file_digest)
    assert timed("from memory", file_digest) == expected
    for title in ("a new cache", "the cache, again"):
        with DigestCache(folder / "digests.sqlite") as cache:
            assert timed(title, cache.digest) == expected


if __name__ == "__main__":
    main()
