"""The page of a sweep: `report.html`, one file that needs no server and makes no request.

It shows finished cells, their pictures, the paper's figures and the answers to the claims.
`write_page` makes it from cells that were already read. Its numbers are the texts of the tables,
so that the page and `table.md` agree.
"""

from stitching.report.page.build import write_page

__all__ = ["write_page"]
