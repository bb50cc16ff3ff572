"""The exception tree of the platform; every class carries the exit code of the command line.

NitrogenError            1
├── ConfigError          2   a field of a recipe or an option is wrong
├── DataError            3   a source of pictures or a prepared data set is wrong
├── StorageError         4   a path, a bucket, a disk or its credentials
│   └── LockLostError    4   another run works in this run's folder of a bucket
├── ClusterError         5   Ray cannot be reached, refuses the token, or lost the job
├── TrackingError        6   the MLflow server or its database
├── BundleError          7   a model bundle is incomplete or was altered
├── GateError            8   a promotion gate refused the candidate
├── TrainingError       10   a training stopped and cannot go on
└── ServingError        11   the endpoint could not start or answer
"""


class NitrogenError(Exception):
    """A failure that a user can act on; its message is one sentence with the remedy."""

    exit_code = 1


class ConfigError(NitrogenError):
    exit_code = 2


class DataError(NitrogenError):
    exit_code = 3


class StorageError(NitrogenError):
    exit_code = 4


class LockLostError(StorageError):
    pass


class ClusterError(NitrogenError):
    exit_code = 5


class TrackingError(NitrogenError):
    exit_code = 6


class BundleError(NitrogenError):
    exit_code = 7


class GateError(NitrogenError):
    exit_code = 8


class TrainingError(NitrogenError):
    exit_code = 10


class ServingError(NitrogenError):
    exit_code = 11
