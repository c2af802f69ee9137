"""What `speed.py` measures, one file a measure; `MEASURES` maps the name of each to it."""

from common.speed_measures import (
    fit_to_target,
    large_table,
    linear_head,
    neighbour_score,
    peak_memory,
    reference_encode,
    reference_fit,
    small_table,
    startup,
)

MEASURES = {
    module.MEASURE.name: module.MEASURE
    for module in (
        *(fit_to_target, reference_fit, reference_encode, small_table),
        *(large_table, neighbour_score, linear_head, startup, peak_memory),
    )
}
