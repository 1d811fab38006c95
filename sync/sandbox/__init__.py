"""The sandbox: a sample database and a stand-in for Iterable on this machine."""
