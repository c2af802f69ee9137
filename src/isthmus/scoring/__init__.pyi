from .ray import connected_cluster as connected_cluster
from .scorer import score as score
