"""Free Spoken Digit Dataset: 3000 recordings of ten digits by six speakers, 8 kHz."""

import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from edgesearch.config import DataConfig
from edgesearch.data.arrays import Array
from edgesearch.data.audio import LONGEST, decode
from edgesearch.data.dataset import RawData, Split
from edgesearch.data.features import FrontEnd, cached
from edgesearch.data.sources import Source, digest, locate, reading
from edgesearch.errors import DataError

ARCHIVE = Source("fsdd/fsdd_recordings.tar.gz", "469945c50b1f4ca06f99aa546e7147daf520cd735f1c28a62c92c5092d0fcf0c")
RATE = 8000
_TEST_RECORDINGS = 5


def load_fsdd(config: DataConfig) -> RawData:
    """Return 2700 training and 300 test recordings: the official split, indices 0 to 4 of each speaker and digit."""
    path = locate(ARCHIVE, config.path)
    assert config.features is not None
    front_end = FrontEnd(config.features, RATE)
    names = ("x", "y", "speaker", "index")
    arrays = cached(config.features, ("fsdd", digest(path)), names, lambda: _read(path, front_end))
    test = arrays["index"] < _TEST_RECORDINGS
    whole = Split(arrays["x"], arrays["y"], arrays["speaker"])
    digits = tuple(str(digit) for digit in range(10))
    train, held_out = whole.take(np.flatnonzero(~test)), whole.take(np.flatnonzero(test))
    return RawData(train, held_out, digits, front_end=str(front_end))


def _read(path: Path, front_end: FrontEnd) -> dict[str, Array]:
    rows = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.size <= LONGEST else None
                if file is None or not member.name.endswith(".wav"):
                    continue
                digit, speaker, index = PurePosixPath(member.name).stem.split("_")
                samples, rate = decode(member.name, file.read())
                if rate != RATE:
                    raise DataError(f"{member.name} must be sampled at {RATE} Hz, got {rate}; fetch the archive again")
                rows.append((member.name, front_end(samples), int(digit), speaker, int(index)))
    except (tarfile.TarError, EOFError, zlib.error, ValueError, OSError) as error:
        raise reading(path)(error) from error
    if not rows:
        raise DataError(f"{path} must hold WAV files, got none; fetch it again")
    _, x, y, speakers, indices = zip(*sorted(rows, key=lambda row: row[0]), strict=True)
    return {"x": np.stack(x), "y": np.array(y), "speaker": np.array(speakers), "index": np.array(indices)}
