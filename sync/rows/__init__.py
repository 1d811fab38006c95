"""Rows: turns what a database returned into request bodies, and a CSV file. Pure except for the CSV; knows no database.

**A row's way.** `source.py` says what a database is (a `Source` gives a `ResultSet`), and what is known of a column:
its name and `Kind`. In `payloads.py`, a `Reading` makes two things from a row. First it makes a fingerprint of the raw
values (`fingerprint.py`). If that is unchanged since the last run, nothing more is made. Otherwise it makes the bodies:
`identity.py` finds the user, `data_fields.py` fills the fields. `raw_values.py` writes the values that an event's id is
made of, and makes a `Rejection` of what cannot be sent.

**How a DECIMAL becomes JSON.** The database gives a `Decimal` in a column of the kind `NUMBER`. `values.py` has the
function for each kind and each type of the settings (`converter`): here `_number`, which gives the double that reads
back with the same digits, or says why there is none. `encode` writes the whole body.

**The settings' side.** `mapping.py` says which column becomes which field, and everything that can be wrong with that.

**The CSV** is written by `export.py`.

`read_back.py` compares what was sent with what Iterable returns; `masking.py` hides secrets in what others wrote.
"""
