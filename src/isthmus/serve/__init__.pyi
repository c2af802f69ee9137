from .app import build_app as build_app
from .bodies import read_instances as read_instances
from .label_intake import take_labels as take_labels
from .label_queue import read_labels as read_labels
from .label_queue import read_queue as read_queue
from .refusals import Limits as Limits
from .server import serve as serve
from .uploads import Notes as Notes
