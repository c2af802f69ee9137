"""All that is wrong with the columns of one table, raised as one error."""

from __future__ import annotations

from types import TracebackType

from isthmus.errors import DataError, SchemaError

#: Errors that are written out.
MAX_LISTED = 20


class ColumnErrors:
    """Collects the errors of columns, each in a `with` block of its own, to raise them together.

    Examples
    --------
    >>> errors = ColumnErrors("nuts.csv")
    >>> for name in ("width", "day"):
    ...     with errors:
    ...         raise DataError(f"column {name!r} holds 'oops'; correct it")
    >>> try:
    ...     errors.check()
    ... except DataError as error:
    ...     print(error)
    2 columns of nuts.csv cannot be read:
    - column 'width' holds 'oops'; correct it
    - column 'day' holds 'oops'; correct it
    """

    def __init__(self, table: str = "") -> None:
        self.table = table or "the table"
        self.errors: list[DataError] = []

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Keep a `DataError` for `check`; any other goes on."""
        if isinstance(error, DataError) and not isinstance(error, MemoryError):
            self.errors.append(error)
            return True
        return False

    def check(self) -> None:
        """Raise what was collected, if anything: one error as it is, several as one.

        Raises
        ------
        SchemaError
            When one of several is one.
        DataError
            When none is. `problems` are the errors.
        """
        if not self.errors:
            return
        if len(self.errors) == 1:
            raise self.errors[0]
        listed = "".join(f"\n- {error}" for error in self.errors[:MAX_LISTED])
        more = len(self.errors) - MAX_LISTED
        kind = SchemaError if any(isinstance(e, SchemaError) for e in self.errors) else DataError
        raise kind(
            f"{len(self.errors):,} columns of {self.table} cannot be read:{listed}"
            + (f"\n- and {more:,} more" if more > 0 else ""),
            problems=self.errors,
        )
