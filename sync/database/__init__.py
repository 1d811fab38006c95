"""MySQL and MariaDB, below db.py: what a server is told and what it says. Nothing here opens a connection.

`server_address.py` says where the server is and who asks, what answered there, and what the way to it leaves open.
`login.py` refuses ways of signing in, `session.py` has what a session is told and `QUERY_TIMEOUT`. `statement.py` cuts
the query where `:since` stands. `wire_types.py` has the type of each column and makes values of its bytes: of a DECIMAL
a `Decimal`, of a DATETIME a `datetime`. `server_errors.py` says what an error means, in a sentence that ends in the
next step; `server_warnings.py` says which warnings make a result unusable.
"""
