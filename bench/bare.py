"""What a row and a call cost at the least: `python -m bench.bare fetch`, `python -m bench.bare send URL COUNT`.

Each is a process of its own, so that its CPU time is that of the fetch or of the calls, and prints the count.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pymysql
import requests
from pymysql.cursors import SSCursor
from requests.adapters import HTTPAdapter

from sync.run.setting_values import HOME

THREADS = 32


def fetch() -> int:
    """Read the query's result to its end with the driver's unbuffered cursor, and do nothing with the rows."""
    sql = HOME.joinpath("query.sql").read_text(encoding="utf-8").replace(":since", "%(since)s")
    connection = pymysql.connect(
        host=os.environ["DB_HOST"],
        port=int(os.environ["DB_PORT"]),
        user=os.environ["DB_USER"],
        password=os.environ["DB_PASSWORD"].encode(),  # as bytes: the driver would put text into Latin-1
        database=os.environ["DB_NAME"],
        charset="utf8mb4",
        cursorclass=SSCursor,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute(sql, {"since": datetime.now(UTC).replace(tzinfo=None) - timedelta(days=7)})
        return sum(1 for _row in cursor)


def send(url: str, count: int, key: str) -> int:
    """Send a profile's body `count` times through the adapter of `requests` alone, from 32 threads."""
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=THREADS)

    def one(number: int) -> int:
        body = (
            f'{{"email":"user{number}@example.com","dataFields":{{"first_name":"First{number}","last_name":"Last",'
            '"plan_type":"pro","candidate":"bench","recent_page_view":true}}'
        )
        headers = {"Api-Key": key, "Content-Type": "application/json", "User-Agent": "bare"}
        request = requests.Request("POST", f"{url}/api/users/update", data=body.encode(), headers=headers)
        with adapter.send(request.prepare(), timeout=30) as answer:
            return answer.status_code

    with ThreadPoolExecutor(THREADS) as pool:
        statuses = list(pool.map(one, range(count)))
    return sum(status == 200 for status in statuses)


if __name__ == "__main__":
    print(fetch() if sys.argv[1] == "fetch" else send(sys.argv[2], int(sys.argv[3]), os.environ["ITERABLE_API_KEY"]))
