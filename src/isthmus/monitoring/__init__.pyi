from .martingales import Martingales as Martingales
from .monitor_reference import Monitored as Monitored
from .monitor_reference import MonitorReference as MonitorReference
from .monitor_reference import Observed as Observed
from .row_monitor import LEVEL as LEVEL
from .row_monitor import Monitor as Monitor
from .row_monitor import MonitorState as MonitorState
from .row_monitor import wilson_interval as wilson_interval
