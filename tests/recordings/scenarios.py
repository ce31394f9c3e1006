"""Every job that record.py runs. What a status has to say of each moment is written there by hand."""

from __future__ import annotations

from tests.recordings.cut_off import CUT_OFF
from tests.recordings.endings import ENDINGS
from tests.recordings.waiting import WAITING

__all__ = ["SCENARIOS"]

SCENARIOS = (*ENDINGS, *WAITING, *CUT_OFF)
