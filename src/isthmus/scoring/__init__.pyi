from .ray import started_cluster as started_cluster
from .scorer import score as score
