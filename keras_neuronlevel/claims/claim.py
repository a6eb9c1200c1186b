"""What a claim is, and the limits that several claims share."""

import dataclasses

from keras_neuronlevel import papers
from keras_neuronlevel.claims.evidence import Gather

# "Most" and "in most cases" are more than half: the papers' words, not a judgement.
MOST = 0.5
# With a tenth of a scale from 0 to 1 a difference can be seen in a histogram, which is what the papers
# looked at when they wrote "much clearer" and "much higher accuracy" (judgement).
MUCH = 0.1


@dataclasses.dataclass(frozen=True)
class Claim:
    """A finding: what its authors say and where, what is measured, when it holds, and the evidence.

    Attributes:
        evidence: functions of a ``Group`` of results that give a list of ``Evidence``.
        owner: whose claim it is, ``papers.PAPERS`` or ``papers.OURS``.
    """

    id: str
    statement: str
    where: str
    measurement: str
    criterion: str
    evidence: tuple[Gather, ...] = dataclasses.field(default=(), repr=False)
    owner: str = papers.PAPERS
