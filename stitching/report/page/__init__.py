"""The page of a sweep: `report.html`, one file that needs no server and asks no other machine.

It shows what finished cells, their pictures, the paper's figures and the answers to the claims
say. `write_page` makes it from cells that were read already; numbers are those of the tables, as
texts, so that the page and `table.md` cannot disagree.
"""

from stitching.report.limits import Limits
from stitching.report.page.build import write_page

__all__ = ["Limits", "write_page"]
