"""The exception tree of the model; every class carries the exit code of the command line.

ModelError            9   (a ValueError)
├── ShapeError            an image, a label or a plan does not fit the network
├── BudgetError           a budget below the cheapest plan
└── WeightsError          a weights file does not fit its configuration
"""


class ModelError(ValueError):
    """A value that the model cannot work with; its message names the field and the remedy."""

    exit_code = 9


class ShapeError(ModelError):
    """An image size, a label or a plan that does not fit the network."""


class BudgetError(ModelError):
    """A compute budget below the cheapest plan; the message names the minimum."""


class WeightsError(ModelError):
    """A weights file that is missing, altered, or made for another configuration."""
