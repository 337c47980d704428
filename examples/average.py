#!/usr/bin/env python3
"""Shows the average of the last ten numbers that a sensor has said on a display.

No library is needed: with `stdio: true` the frames of the worker's ports are lines on standard input, and each line on standard
output is queued. With several ports each line begins with the port and a tab. What is written to standard error goes to the log.

workers:
  average:
    command: [python3, ./average.py]
    role: send
    ports: [sensor, display]
    stdio: true
"""

import collections
import sys

last = collections.deque(maxlen=10)
for line in sys.stdin:
    port, _, text = line.rstrip("\n").partition("\t")
    if port != "sensor":
        continue  # the display says something
    try:
        last.append(float(text))
    except ValueError:
        print(f"<4>not a number: {text!r}", file=sys.stderr)
        continue
    # flush: else Python keeps lines back until there are many.
    print(f"display\t{sum(last) / len(last):.2f}", flush=True)
