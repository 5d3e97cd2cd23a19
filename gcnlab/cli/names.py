"""The names that help and the answer to a typo need, without importing what they name.

Importing torch takes seconds. A test compares these names with those of the other rooms.
"""

PROFILES = ("smoke", "quick", "synthetic", "synthetic-wide", "photos", "paper")
TABLES = ("1", "2", "3", "4", "5", "6", "7", "9")
PRETRAINING, FIELDS, ABLATIONS, PILOT = "pretraining", "fields", "ablations", "pilot"
RATES, OWN, REPEAT = "rates", "own", "repeat"
RUNNABLE = (*TABLES, PRETRAINING, FIELDS, ABLATIONS, RATES, PILOT, OWN, REPEAT)
