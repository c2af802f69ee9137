from .aeon_estimators import AeonClassifier as AeonClassifier
from .aeon_estimators import AeonDetector as AeonDetector
from .mcp_server import build_mcp_server as build_mcp_server
from .mlflow_models import load_model as load_model
from .mlflow_models import log_model as log_model
from .mlflow_models import save_model as save_model
from .pyod_detector import PyODDetector as PyODDetector
