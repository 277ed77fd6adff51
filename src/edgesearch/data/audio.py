"""Reading clips: WAV with the standard library, FLAC with soundfile (extra `audio`)."""

import io
import wave

import numpy as np

from edgesearch.data.dataset import Floats
from edgesearch.errors import DataError

LONGEST = 64 << 20  # bytes of a sound file, and samples of one
_DAMAGED = "is a damaged sound file ({}); delete the archive and fetch it again"


def decode(name: str, content: bytes) -> tuple[Floats, int]:
    """Return the mono samples in [-1, 1] and the rate of a 16-bit WAV or a FLAC file.

    Raises:
        DataError: the file cannot be decoded, or FLAC without soundfile.
    """
    return _decode_flac(name, content) if name.endswith(".flac") else _decode_wav(name, content)


def _decode_wav(name: str, content: bytes) -> tuple[Floats, int]:
    try:
        with wave.open(io.BytesIO(content)) as file:
            if file.getsampwidth() != 2 or file.getnchannels() != 1:
                raise DataError(
                    f"{name} must be 16-bit mono, got {8 * file.getsampwidth()}-bit with {file.getnchannels()} channels"
                )
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            return samples.astype(np.float32) / np.float32(32768), file.getframerate()
    except (wave.Error, EOFError, ValueError) as error:
        raise DataError(f"{name} {_DAMAGED.format(error)}") from error


def _decode_flac(name: str, content: bytes) -> tuple[Floats, int]:
    try:
        import soundfile
    except ImportError as error:
        raise DataError(
            f"{name} is FLAC and needs the package soundfile; run pip install 'edgesearch[audio]'"
        ) from error
    try:
        frames = soundfile.info(io.BytesIO(content)).frames
        if not 0 <= frames <= LONGEST:
            raise DataError(f"{name} must have at most {LONGEST} samples, got {frames}; cut it into clips")
        read, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise DataError(f"{name} {_DAMAGED.format(error)}") from error
    samples: Floats = read
    if samples.ndim != 1:
        raise DataError(f"{name} must be mono, got {samples.shape[1]} channels; mix it down")
    return samples, int(rate)
