from .autoencoder import Autoencoder as Autoencoder
from .bundle import Bundle as Bundle
from .bundle import load_bundle as load_bundle
from .bundle import save_bundle as save_bundle
from .classification import CodeClassifier as CodeClassifier
from .data import Dataset as Dataset
from .data import StoredCodes as StoredCodes
from .data import load as load
from .data import load_codes as load_codes
from .data.streaming import Stream as Stream
from .detection import AnomalyDetector as AnomalyDetector
from .encoding import FrozenEncoder as FrozenEncoder
from .errors import IsthmusError as IsthmusError
from .evaluation import advise as advise
from .evaluation import evaluate as evaluate
from .export import export_bundle as export_bundle
from .report import write_report as write_report

__version__: str
