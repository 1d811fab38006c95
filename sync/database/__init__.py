"""MySQL and MariaDB, below db.py: what is sent to a server and what its answers mean. Nothing here opens a connection.

`session.py` says where the server is and who connects, what answered there, which login methods are refused, and what
is set before the query. `statement.py` finds `:since` in the query. `wire_types.py` has the type of each column and
converts its bytes: a DECIMAL to a `Decimal`, a DATETIME to a `datetime`. `server_messages.py` says what an error means,
in a sentence that ends in the next step, and which warnings make a result unusable.
"""
