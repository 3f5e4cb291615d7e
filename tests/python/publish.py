"""Publishes to the stream `s` as a service in Python would, and prints the entries' IDs: `publish.py PORT`."""

import json
import sys

import redis

client = redis.Redis(port=int(sys.argv[1]))
event = {
    "type": "application.submitted",
    "payload": json.dumps({"applicationId": "a-1", "name": "Zoë"}, ensure_ascii=False),
    "source": "web",
    "ts": "2026-03-01T12:30:00+01:00",
}
without_time = {name: value for name, value in event.items() if name != "ts"}
# What datetime.utcnow() made: it does not say which zone's time it is.
without_zone = event | {"ts": "2026-03-01T11:30:00"}
with_more = event | {"tenant": "north", b"\xffodd": b"\x00\xfe"}
for fields in (event, without_time, without_zone, with_more):
    print(client.xadd("s", fields).decode())
