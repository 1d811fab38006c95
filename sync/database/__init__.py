"""MySQL and MariaDB, below db.py: what is sent to a server and what its answers mean. Nothing here opens a connection.

`server_address.py` says where the server is and who asks, what answered there, and what the way to it leaves open.
`session.py` refuses ways of signing in, and has what a session is told and `QUERY_TIMEOUT`. `statement.py` finds where
`:since` stands in the query. `wire_types.py` has the type of each column and makes values of its bytes: of a DECIMAL a
`Decimal`, of a DATETIME a `datetime`. `server_messages.py` says what an error means, in a sentence that ends in the
next step, and which warnings make a result unusable.
"""
