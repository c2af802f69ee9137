"""Measure one side in this process, and print its facts as JSON on the last line.

    python run_side.py MEASURE SIDE OPTIONS_AS_JSON

`speed.py` runs this, in the environment of isthmus or of the peers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])
    from common.speed_measures import MEASURES

    measure, side, options = sys.argv[1:]
    facts = MEASURES[measure].sides[side].measure(json.loads(options))
    print(json.dumps(facts, allow_nan=False))
