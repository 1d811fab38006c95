"""Rows: what a database gave becomes what Iterable is told, and a CSV file. Pure but for the CSV; knows no database.

**A row's way.** `source.py` says what a database is (a `Source` gives a `ResultSet`), `columns.py` what is known of a
column: its name and `Kind`. In `payloads.py` a `Reading` makes two things of a row. First its fingerprint
(`fingerprint.py`), by its raw values: a row that says what it said in the last run needs no more. Otherwise the bodies:
`names.py` and `identity.py` tell whom the row is about, `ids.py` writes the values that an event's id is made of,
`data_fields.py` fills the fields, and what cannot be sent becomes a `rejection.py`.

**How a DECIMAL becomes JSON.** The database gives a `Decimal` in a column of the kind `NUMBER`. `values.py` has the
function for each kind and each type of the settings (`converter`): here `_number`, which gives the double that reads
back with the same digits, or says why there is none. `encode` writes the whole body; `depth.py` bounds documents.

**The settings' side.** `mapping.py` says which column becomes which field, and all that can be wrong with that.

**The CSV** is written by `export.py`, cell by cell (`cells.py`).

`read_back.py` holds what was sent against what Iterable gives back; `masking.py` hides secrets in what others wrote.
"""
