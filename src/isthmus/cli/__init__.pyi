from .commands import main as main
from .process import tune_process as tune_process
