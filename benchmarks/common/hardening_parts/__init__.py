"""What `hardening.py` tries, one file a part; `PARTS` maps the name of each to its function.

A part takes a `Setting` and returns rows. It stops trying when its time is up, and its rows say
how often each case was tried.
"""

from collections.abc import Callable

from common.hardening_parts.exports import exports
from common.hardening_parts.folders import folders
from common.hardening_parts.formats import formats
from common.hardening_parts.kills import kills
from common.hardening_parts.readers import readers
from common.hardening_parts.rows import Row, Setting
from common.hardening_parts.service import service
from common.hardening_parts.sizes import sizes
from common.hardening_parts.writers import writers

PARTS: dict[str, Callable[[Setting], list[Row]]] = {
    "writers": writers,
    "kills": kills,
    "folders": folders,
    "service": service,
    "exports": exports,
    "readers": readers,
    "sizes": sizes,
    "formats": formats,
}
