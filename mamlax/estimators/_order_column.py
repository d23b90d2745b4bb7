"""A column of a table in a file, by which rows are put in an order."""

import numpy as np

from ._conventions import Conventions
from ._names import all_named, text_of
from ._order import positions_in
from ._tables import Table


def order_of(table: Table, name: str, conventions: Conventions) -> np.ndarray:
    """`[rows]` of what a column is ordered by: of text as it is written.

    Raises:
        MamlaxError: if it is missing in a row, or is no order.
    """
    cells = all_named(table, name, "--order-column", conventions)
    order = text_of(cells) if table.separator else table.columns[name].to_pandas().to_numpy()
    positions_in(order, len(order), called=f"the column {name!r} (--order-column)")
    return order
