from .api import evaluate as evaluate
from .api import extend as extend
from .api import extension as extension
from .api import load as load
from .api import resume as resume
from .api import train as train
from .config import RunConfig as RunConfig
from .config import read_config as read_config
from .config import with_settings as with_settings
from .errors import RunError as RunError
from .evaluation.predict import Prediction as Prediction
from .evaluation.predict import Predictor as Predictor
from .evaluation.scores import Scores as Scores
from .recipes import recipe as recipe
from .runs import Run as Run
from .runs import RunStep as RunStep
from .runs import read_run as read_run

__version__: str

__all__ = [
    "Prediction",
    "Predictor",
    "Run",
    "RunConfig",
    "RunError",
    "RunStep",
    "Scores",
    "__version__",
    "evaluate",
    "extend",
    "extension",
    "load",
    "read_config",
    "read_run",
    "recipe",
    "resume",
    "train",
    "with_settings",
]
