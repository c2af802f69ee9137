from .commands import main as main
from .commands import tune_process as tune_process
