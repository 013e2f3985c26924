"""What stands between statements: openers of a sentence, words that lead in a list, and connectors of clauses."""

OPENERS = ("overall, ", "on the whole, ", "on this derivation, ", "in this epoch, ", "throughout, ", "as measured, ")
LEADS_IN = (
    "the epoch shows ",
    "the trace shows ",
    "the EEG shows ",
    "seen here: ",
    "noted: ",
    "found: ",
    "scored here: ",
    "on record: ",
    "listed: ",
    "the record shows ",
    "the derivation shows ",
)
CONNECTORS = (", and ", "; ", ", while ", "; besides, ", ", whereas ", "; moreover, ", "; in addition, ", "; also, ")
