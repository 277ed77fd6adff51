"""The exceptions a user can meet. Each message is one line: the rule, the value found, the remedy."""


class EdgesearchError(Exception):
    """Base of every error raised on purpose; `exit_code` is what the command line returns for it."""

    exit_code = 1


class ConfigError(EdgesearchError):
    """A setting is unknown, of the wrong type, out of range or contradicts another."""

    exit_code = 2


class DataError(EdgesearchError):
    """A data file is missing, damaged or holds something that cannot be trained on."""

    exit_code = 2


class ModelFileError(EdgesearchError):
    """A saved model, checkpoint or run folder is missing, damaged or of another shape."""

    exit_code = 2


class RunInUseError(EdgesearchError):
    """Another process is working on the same run folder."""


class TrainingError(EdgesearchError):
    """Training cannot go on, for example because the loss is no longer finite."""


class MemoryLimitError(TrainingError):
    """More memory was asked for than this machine has."""


class ToolError(EdgesearchError):
    """A program that is needed, such as a C compiler, is missing or failed."""


class StorageError(EdgesearchError):
    """A study's storage cannot be reached, or is no study of ours."""


class DifferenceError(EdgesearchError):
    """Two ways of computing that must agree to the last bit do not."""


class SecretDifferenceError(DifferenceError):
    """A program over secret shares gives other logits than in the open: the answers of one side are wrong."""

    exit_code = 2


class EdgesearchWarning(UserWarning):
    """Something the user should know that does not stop the work."""
