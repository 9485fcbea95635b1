"""Asks services again and again until its input ends, then prints what came of it as JSON.

Arguments: NAME KIND PORT for each service. A service is away from its last good answer until its next
one when it failed to answer in between, so every outage is told too long by at most one pause.
"""
import json, socket, sys, threading, time

PAUSE = 0.05
PATIENCE = 2.0
DNS = b"\0\1\1\0\0\1\0\0\0\0\0\0\x0ageneration\3lab\0\0\x10\0\1"
# What is said to a service, and how its answer begins.
TALKS = {
    "redis": (b"PING\r\n", b"+PONG"),
    "http": (b"GET / HTTP/1.0\r\n\r\n", (b"HTTP/1.1 200", b"HTTP/1.0 200")),
    # A proxy itself says what it thinks of this, whether the server behind it is there or not.
    "proxy": (b"?\r\n\r\n", b"HTTP/1."),
    # Who comes so often and never logs in is sent away by a server that is there.
    "ssh": (b"", (b"SSH-2.0", b"Not allowed")),
    # The start of a session; a server that cannot take one yet answers with E.
    "postgres": (b"\0\0\0\x29\0\3\0\0user\0postgres\0database\0postgres\0\0", b"R"),
    "memcached": (b"version\r\n", b"VERSION"),
    "nats": (b"", b"INFO"),
}


def ask(kind, port):
    if kind == "dns":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as it:
            it.settimeout(PATIENCE)
            it.connect(("127.0.0.1", port))
            it.send(DNS)
            return it.recv(512)[3] & 15 == 0
    words, expected = TALKS[kind]
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as it:
        it.sendall(words)
        answer = it.recv(64)
        if kind == "postgres" and answer:
            it.sendall(b"X\0\0\0\4")
        return answer.startswith(expected)


def poll(seen, kind, port, over):
    good, failed = time.monotonic(), 0
    while not over.is_set():
        seen["polls"] += 1
        try:
            well = ask(kind, port)
        except OSError:
            well = False
        now = time.monotonic()
        if not well:
            failed += 1
        else:
            if failed:
                seen["outages"].append({"from": good, "to": now, "failed": failed})
            good, failed = now, 0
        over.wait(PAUSE)
    if failed:
        seen["outages"].append({"from": good, "to": time.monotonic(), "failed": failed})


def main():
    over, report, threads = threading.Event(), {}, []
    words = iter(sys.argv[1:])
    for name, kind, port in zip(words, words, words):
        report[name] = {"polls": 0, "outages": []}
        thread = threading.Thread(target=poll, args=(report[name], kind, int(port), over))
        threads.append(thread)
        thread.start()
    print("polling", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    print(json.dumps(report))


main()
