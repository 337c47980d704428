#!/usr/bin/python3
"""The classic multi-process serial program: pyserial and one multiprocessing.Queue.

article.py DEVICE echo     what one process receives is queued, the other process writes it
article.py DEVICE oneway   what one process receives is queued, the other process prints it with the time it got it
"""
import sys
import time
from multiprocessing import Process, Queue

import serial


def receiver(ser, queue):
    while True:
        queue.put(ser.readline())


def sender(ser, queue):
    while True:
        ser.write(queue.get())


def subscriber(queue):
    out = sys.stdout.buffer
    while True:
        line = queue.get()
        now = time.monotonic_ns()
        out.write(b"%d %s" % (now, line))
        out.flush()


if __name__ == "__main__":
    device, mode = sys.argv[1:]
    port = serial.Serial(device, baudrate=115200)
    queue = Queue()
    Process(target=receiver, args=(port, queue), daemon=True).start()
    consumer = Process(target=sender, args=(port, queue)) if mode == "echo" else Process(target=subscriber, args=(queue,))
    consumer.start()
    consumer.join()
