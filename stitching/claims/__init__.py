"""The paper's claims, answered by finished cells: `python -m stitching.claims DIR [DIR ...]`.

DIR is the folder of a sweep; several may be given, such as a grid on photographs, one with the GAN
on images that it drew, and a sweep over checkpoints. Each folder, data set, protocol and seed has
answers of its own: one of `VERDICTS`, with the numbers, the rule that decided and, where cells are
missing, the command to run. `claims.md` and `claims.json` are written into the first DIR. Only
files are read.
"""

from stitching.claims.base import VERDICTS, Answer, Number
from stitching.claims.claim import Claim
from stitching.claims.evidence import Evidence, read_evidence
from stitching.claims.files import CLAIMS, answer, main

__all__ = [
    "CLAIMS",
    "VERDICTS",
    "Answer",
    "Claim",
    "Evidence",
    "Number",
    "answer",
    "main",
    "read_evidence",
]
