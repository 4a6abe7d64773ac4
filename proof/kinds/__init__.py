"""The kinds of contracts that the campaign sells, each in resources of its own: what the contract model is about.

Days lie far behind, within the play, or far ahead, so that each kind is met before, while and after it takes effect.
Where deals contradict each other, it is certain who makes way.
"""

from __future__ import annotations

from proof.kinds import changes, charges, lines, money, renewals
from proof.kinds.parts import KINDS

__all__ = ["KINDS", "changes", "charges", "lines", "money", "renewals"]
