"""What each kind of instance must be like."""

from isthmus.data.checks.images import check_images
from isthmus.data.checks.series import check_series
from isthmus.data.checks.tables import check_names, check_table, check_table_shape

__all__ = ["check_images", "check_names", "check_series", "check_table", "check_table_shape"]
