from .martingales import Martingales as Martingales
from .monitor import LEVEL as LEVEL
from .monitor import Monitor as Monitor
from .monitor import MonitorState as MonitorState
from .monitor import wilson_interval as wilson_interval
from .monitor_reference import Monitored as Monitored
from .monitor_reference import MonitorReference as MonitorReference
from .monitor_reference import Observed as Observed
