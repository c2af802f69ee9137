from .estimator import Autoencoder as Autoencoder
from .fitting import carry_out_together as carry_out_together
from .instance_encoder import InstanceEncoder as InstanceEncoder
from .shared_reading import read_on_rank_zero as read_on_rank_zero
from .training_rows import HeldOut as HeldOut
from .training_rows import TrainingRowHashes as TrainingRowHashes
from .training_rows import row_hashes as row_hashes
