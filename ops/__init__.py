"""The operators' command: ``./closedwon``."""

import sys
from pathlib import Path

# It decides by the same rules as the functions, and finds them where they are developed: it runs from a checkout.
sys.path.append(str(Path(__file__).resolve().parent.parent / "layers" / "closedwon"))
