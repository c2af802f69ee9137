"""What `speed.py` measures: one file a measure."""

from speed_measures import encode, large, linear, memory, reference, small, startup, target

MEASURES = {
    module.MEASURE.name: module.MEASURE
    for module in (target, reference, encode, small, large, linear, startup, memory)
}
