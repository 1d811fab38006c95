"""What a MySQL or MariaDB server is told around the query: the socket, the login, the session and its limits."""
