"""Spoken sets: the real small ones, and the full Speech Commands layout on small archives made here."""

import io
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest

from edgesearch.data import load_dataset, speech_commands
from edgesearch.data.audio import decode
from edgesearch.data.sources import Source, sha256
from edgesearch.data.speech_commands import CLASSES, KEYWORDS
from edgesearch.errors import DataError
from tests.conftest import composed

RATE = 16000


def wav(samples: np.ndarray, rate: int = RATE, channels: int = 1, width: int = 2) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def tone(frequency: float, seconds: float = 1.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


def test_fsdd(data_folder: Path) -> None:
    dataset = load_dataset(composed("data=fsdd", "data.validation_by=group").data)
    assert len(dataset.train) + len(dataset.validation) == 2700
    assert np.bincount(dataset.test.y).tolist() == [30] * 10
    assert (dataset.steps, dataset.input_size) == (49, 24)
    assert dataset.validation.groups is not None
    assert dataset.train.groups is not None
    assert not set(dataset.validation.groups) & set(dataset.train.groups)
    again = load_dataset(composed("data=fsdd", "data.validation_by=group").data)
    assert np.array_equal(again.train.x, dataset.train.x)


@pytest.mark.slow
def test_gsc12_small(data_folder: Path) -> None:
    dataset = load_dataset(composed("data=gsc12_small").data)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [3122, 525, 1039]
    assert dataset.class_names == CLASSES
    assert dataset.subset_of is not None
    speakers = [
        set(part.groups) - {""} for part in (dataset.train, dataset.validation, dataset.test) if part.groups is not None
    ]
    assert len(speakers) == 3
    assert not speakers[0] & speakers[1]
    assert not speakers[0] & speakers[2]
    assert not speakers[1] & speakers[2]


@pytest.fixture
def full_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clips a keyword for training, one for validation, one listed for testing; other words; noise; a test set."""
    files: dict[str, bytes] = {}
    valid, testing = [], []
    for index, word in enumerate((*KEYWORDS, "bed", "cat")):
        for speaker in range(4):
            name = f"{word}/{speaker:08x}_nohash_0.wav"
            files[name] = wav(tone(200 + 50 * index + speaker, seconds=1.0 if speaker else 0.7))
            if speaker == 2:
                valid.append(name)
            elif speaker == 3:
                testing.append(name)
    files["_background_noise_/hum.wav"] = wav(0.1 * np.random.default_rng(0).normal(size=3 * RATE).clip(-3, 3))
    files["_background_noise_/README.md"] = b"noise"
    files["validation_list.txt"] = "\n".join(valid).encode()
    files["testing_list.txt"] = "\n".join(testing).encode()
    tar(tmp_path / "speech_commands_v0.02.tar.gz", files)
    test = {f"{label}/{9:08x}_nohash_0.wav": wav(tone(300 + 40 * k)) for k, label in enumerate(CLASSES)}
    tar(tmp_path / "speech_commands_test_set_v0.02.tar.gz", test)
    for name in ("FULL", "FULL_TEST"):
        source: Source = getattr(speech_commands, name)
        digest = sha256(tmp_path / Path(source.path).name)
        monkeypatch.setattr(speech_commands, name, Source(source.path, digest, source.url))
    return tmp_path


def test_the_full_archives_layout(full_archives: Path) -> None:
    dataset = load_dataset(composed("data=gsc12", f"data.path={full_archives}").data)
    expected = {"train": [2, 2, *[2] * 10], "validation": [1, 1, *[1] * 10], "test": [1] * 12}
    for part, counts in expected.items():
        assert np.bincount(getattr(dataset, part).y, minlength=12).tolist() == counts, part
    assert dataset.subset_of is None
    assert (dataset.steps, dataset.input_size) == (49, 32)


def test_a_truncated_archive_is_an_error(full_archives: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = full_archives / "speech_commands_v0.02.tar.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    config = composed("data=gsc12", f"data.path={full_archives}").data
    with pytest.raises(DataError, match="must have sha256"):
        load_dataset(config)
    monkeypatch.setattr(speech_commands, "FULL", Source(speech_commands.FULL.path, None))
    with pytest.raises(DataError, match="truncated or damaged"):
        load_dataset(config)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (wav(tone(300), channels=2), "must be 16-bit mono"),
        (wav(tone(300))[:20], "damaged sound file"),
        (b"RIFF", "damaged sound file"),
    ],
)
def test_sound_files_that_cannot_be_used(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode("clip.wav", content)


def test_damaged_flac() -> None:
    with pytest.raises(DataError, match="damaged sound file"):
        decode("clip.flac", b"fLaC but not really")
