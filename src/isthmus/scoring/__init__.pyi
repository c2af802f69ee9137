from .output_folder import most_abnormal as most_abnormal
from .ray import connected_cluster as connected_cluster
from .scorer import score as score
