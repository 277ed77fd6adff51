"""Google Speech Commands v0.02, twelve classes: ten keywords, `_silence_` and `_unknown_` (Warden, arXiv:1804.03209).

`gsc12_small` is the canonical test archive with a speaker-disjoint split of its own. `gsc12` trains on the full public
archive and tests on the canonical test archive.
"""

import csv
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from edgesearch.config import DataConfig, FeatureConfig
from edgesearch.data.arrays import Array
from edgesearch.data.audio import LONGEST, decode
from edgesearch.data.dataset import Floats, RawData, Split
from edgesearch.data.features import FrontEnd, cached
from edgesearch.data.sources import Source, digest, locate, reading
from edgesearch.errors import DataError
from edgesearch.untrusted.arrays import check_archive

RATE = 16000
KEYWORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
CLASSES = ("_silence_", "_unknown_", *KEYWORDS)

SMALL = Source("gsc_v2_test/gsc_v2_test.zip", "95277e7b25c1163edf9cbe752b233356c83d1eef4a18b1a3e8d89c8f732b562d")
SMALL_SPLIT = Source("gsc_v2_test/split.csv", "655195c40242aeb08599904542de5ae083a18a364a454314bfb36daddb844dd9")
_BASE = "https://storage.googleapis.com/download.tensorflow.org/data/"
FULL = Source(
    "gsc_v2/speech_commands_v0.02.tar.gz",
    "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    _BASE + "speech_commands_v0.02.tar.gz",
)
FULL_TEST = Source(
    "gsc_v2/speech_commands_test_set_v0.02.tar.gz", None, _BASE + "speech_commands_test_set_v0.02.tar.gz"
)
_UNPACKED = 1 << 30  # bytes of the small archive
_NAMES = ("x", "y", "speaker", "split")


def load_gsc12_small(config: DataConfig) -> RawData:
    """Return the test archive's clips in the split of its split.csv: other speakers in each of the three parts."""
    archive, table = locate(SMALL, config.path), locate(SMALL_SPLIT, config.path)
    assert config.features is not None
    features = config.features
    arrays = cached(
        features, ("gsc12_small", digest(archive), digest(table)), _NAMES, lambda: _small(archive, table, features)
    )
    return _raw(arrays, features, subset_of="Speech Commands v0.02 (its test archive only, split again)")


def load_gsc12(config: DataConfig) -> RawData:
    """Return the full archive's training and validation clips and the test archive's clips.

    Of the other 25 words as many clips are drawn for `_unknown_`, and of the background noise as many cuts for
    `_silence_`, as a keyword has on average; which ones is fixed.
    """
    full, test = locate(FULL, config.path), locate(FULL_TEST, config.path)
    assert config.features is not None
    features = config.features
    arrays = cached(features, ("gsc12", digest(full), digest(test)), _NAMES, lambda: _full(full, test, features))
    return _raw(arrays, features, subset_of=None)


def _raw(arrays: dict[str, Array], features: FeatureConfig, subset_of: str | None) -> RawData:
    whole = Split(arrays["x"], arrays["y"], arrays["speaker"])
    train, valid, test = (whole.take(np.flatnonzero(arrays["split"] == part)) for part in ("train", "valid", "test"))
    front_end = str(FrontEnd(features, RATE))
    return RawData(train, test, CLASSES, validation=valid, subset_of=subset_of, front_end=front_end)


class _Rows:
    """Collects clips as features with their label, speaker and split."""

    def __init__(self, features: FeatureConfig) -> None:
        self._front_end = FrontEnd(features, RATE)
        self._rows: list[tuple[Floats, int, str, str]] = []

    def add(self, samples: Floats, label: str, speaker: str, split: str) -> None:
        self._rows.append((self._front_end(samples), CLASSES.index(label), speaker, split))

    def add_file(self, name: str, content: bytes, label: str, speaker: str, split: str) -> None:
        self.add(_samples(name, content), label, speaker, split)

    def arrays(self) -> dict[str, Array]:
        x, y, speaker, split = zip(*self._rows, strict=True)
        return {"x": np.stack(x), "y": np.array(y), "speaker": np.array(speaker), "split": np.array(split)}


def _samples(name: str, content: bytes) -> Floats:
    samples, rate = decode(name, content)
    if rate != RATE:
        raise DataError(f"{name} must be sampled at {RATE} Hz, got {rate}; fetch the archive again")
    return samples


def _small(archive: Path, table: Path, features: FeatureConfig) -> dict[str, Array]:
    rows = _Rows(features)
    try:
        with zipfile.ZipFile(archive) as clips, table.open(newline="", encoding="utf-8") as file:
            check_archive(clips, _UNPACKED)
            for row in csv.DictReader(file):
                rows.add_file(row["path"], clips.read(row["path"]), row["label"], row["speaker"], row["split"])
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
        raise reading(archive)(error) from error
    return rows.arrays()


def _full(full: Path, test: Path, features: FeatureConfig) -> dict[str, Array]:
    rows = _Rows(features)
    lists, names = _index(full)
    chosen = _choose(names, lists)
    noises = []
    for name, content in _files(full):
        if name in chosen:
            label, split = chosen[name]
            rows.add_file(name, content, label, _speaker(name), split)
        elif name.startswith("_background_noise_/") and name.endswith(".wav"):
            noises.append(_samples(name, content))
    for split in ("train", "valid"):
        keywords = sum(1 for label, part in chosen.values() if part == split and label in KEYWORDS)
        for cut in _silences(noises, round(keywords / len(KEYWORDS)), seed=len(split)):
            rows.add(cut, "_silence_", "", split)
    for name, content in _files(test):
        if name.endswith(".wav"):
            rows.add_file(name, content, PurePosixPath(name).parts[0], _speaker(name), "test")
    return rows.arrays()


def _index(path: Path) -> tuple[dict[str, set[str]], list[str]]:
    """Return the archive's validation and testing lists and the names of all its clips."""
    lists: dict[str, set[str]] = {}
    names = []
    for name, content in _files(path):
        if name in ("validation_list.txt", "testing_list.txt"):
            lists[name] = set(content.decode().split())
        elif name.endswith(".wav") and not name.startswith("_background_noise_/"):
            names.append(name)
    for name in ("validation_list.txt", "testing_list.txt"):
        if name not in lists:
            raise DataError(f"{path} must hold {name}, got none; delete it and fetch it again")
    return lists, sorted(names)


def _choose(names: list[str], lists: dict[str, set[str]]) -> dict[str, tuple[str, str]]:
    """Return label and split of every keyword clip and of the other words' clips drawn for `_unknown_`."""
    chosen: dict[str, tuple[str, str]] = {}
    others: dict[str, list[str]] = {"train": [], "valid": []}
    for name in names:
        if name in lists["testing_list.txt"]:
            continue
        split = "valid" if name in lists["validation_list.txt"] else "train"
        word = PurePosixPath(name).parts[0]
        if word in KEYWORDS:
            chosen[name] = (word, split)
        else:
            others[split].append(name)
    for seed, (split, candidates) in enumerate(others.items()):
        keywords = sum(1 for _, part in chosen.values() if part == split)
        drawn = np.random.default_rng(seed).permutation(candidates)[: round(keywords / len(KEYWORDS))]
        chosen |= {str(name): ("_unknown_", split) for name in drawn}
    return chosen


def _silences(noises: list[Floats], count: int, seed: int) -> Iterator[Floats]:
    """Yield one-second cuts of background noise at random places and volumes."""
    if not noises and count:
        raise DataError("the archive must hold _background_noise_/*.wav for _silence_, got none; fetch it again")
    rng = np.random.default_rng(seed)
    for _ in range(count):
        noise = noises[rng.integers(len(noises))]
        start = rng.integers(max(1, len(noise) - RATE))
        yield noise[start : start + RATE] * np.float32(rng.random())


def _speaker(name: str) -> str:
    match = re.match(r"([0-9a-f]{8})_nohash", PurePosixPath(name).name)
    return match.group(1) if match else ""


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name (without a leading ./) and content of every file of a tar archive."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() and member.size <= LONGEST else None
                if file is not None:
                    yield member.name.removeprefix("./"), file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise reading(path)(error) from error
