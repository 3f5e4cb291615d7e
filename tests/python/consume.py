"""Reads what the stream `s` holds as a consumer in Python would, in the group `g` of its own: `consume.py PORT`.

Prints a line of JSON for each entry: its ID, its fields as Python shows bytes, what XACK answered, and how many entries
are pending after that.
"""

import json
import sys

import redis

client = redis.Redis(port=int(sys.argv[1]))
client.xgroup_create("s", "g", id="0")
for _stream, entries in client.xreadgroup("g", "python", {"s": ">"}):
    for entry_id, fields in entries:
        told = {
            "id": entry_id.decode(),
            "fields": {repr(name): repr(value) for name, value in fields.items()},
            "acknowledged": client.xack("s", "g", entry_id),
            "pending": client.xpending("s", "g")["pending"],
        }
        print(json.dumps(told))
