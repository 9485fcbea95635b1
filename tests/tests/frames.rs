//! Hostile bytes on the socket: refused or cut off, and the daemon stays what it was.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::require;
use nixctl_lab::world::World;

/// Speaks to the socket; run as bob. The argument says what.
const CLIENT: &str = r#"
import os, socket, sys, time

def connect():
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(60)
    peer.connect("/run/nixctl/socket")
    return peer

def until_closed(peer):
    began = time.monotonic()
    got = b""
    try:
        while True:
            data = peer.recv(65536)
            if not data:
                break
            got += data
    except ConnectionResetError:
        pass
    return got, time.monotonic() - began

def frame(payload):
    return len(payload).to_bytes(4, "big") + payload

HELLO = frame(b"\x01\x050.1.0")
what = sys.argv[1]
if what == "messages":
    cases = {
        "oversized": b"\xff\xff\xff\xff",
        "oversized by one": (2**20 + 1).to_bytes(4, "big"),
        "oversized with bytes": b"\x7f\xff\xff\xff" + b"x" * 100000,
        "garbage": os.urandom(4096),
        "empty": frame(b""),
        "no hello": frame(os.urandom(64)),
        "protocol too old": frame(b"\x00\x050.0.1"),
        "garbage after hello": HELLO + frame(b"\xff" + os.urandom(300)),
        "huge number in a frame": HELLO + frame(b"\xff\x02\xfd\xff\xff\xff\xff\xff\xff\xff\xff"),
        "oversized after hello": HELLO + b"\xff\xff\xff\xff",
        "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    }
    for name, data in cases.items():
        peer = connect()
        try:
            peer.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        got, seconds = until_closed(peer)
        print(f"{name}: {len(got)} bytes back, closed after {seconds:.1f} s", flush=True)
        assert seconds < 40, name
    # With a number it is a call, maybe of a newer client: it is answered, and the connection goes on.
    peer = connect()
    peer.sendall(frame(b"\x63\x059.9.9"))
    for payload in [b"\x01" + os.urandom(300), b"\x01\x02\xfd\xff\xff\xff\xff\xff\xff\xff\xff", b"\x01\xc8"]:
        peer.sendall(frame(payload))
    peer.shutdown(socket.SHUT_WR)
    got, seconds = until_closed(peer)
    refused = got.count(b"does not know this request of nixctl 9.9.9")
    print(f"unknown calls: {refused} refused", flush=True)
    assert refused == 3, got
elif what == "truncated":
    for cut in range(len(HELLO)):
        peer = connect()
        peer.sendall(HELLO[:cut])
        peer.close()
    print("done")
elif what == "silent":
    peers = [connect() for _ in range(5)]
    peers[1].sendall(b"\x00")
    peers[2].sendall(HELLO[:6])
    longest = max(until_closed(peer)[1] for peer in peers)
    print(f"cut off after {longest:.1f} s")
elif what == "greedy":
    peers = []
    for _ in range(500):
        try:
            peers.append(connect())
        except OSError:
            break
    alive = 0
    time.sleep(1)
    for peer in peers:
        peer.settimeout(0.001)
        try:
            # A refusal may be told before the end.
            while peer.recv(4096) != b"":
                pass
        except TimeoutError:
            alive += 1
        except OSError:
            pass
    print(alive)
elif what == "flood":
    for _ in range(int(sys.argv[2])):
        peer = connect()
        try:
            peer.sendall(frame(os.urandom(60000)))
        except OSError:
            pass
        peer.close()
    print("done")
"#;

/// Anonymous memory of the daemon, in KiB.
fn memory(world: &World) -> u64 {
    let pid = world.daemon_pid().unwrap();
    let status = world
        .machine
        .read_text(&format!("/proc/{pid}/status"))
        .unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Attack {
    world: World,
    pid: u32,
}

impl Attack {
    fn new(name: &str) -> Self {
        let world = World::boot(name).unwrap();
        world
            .machine
            .write_file("/var/tmp/client.py", CLIENT, 0o644)
            .unwrap();
        let pid = world.daemon_pid().unwrap();
        assert_ne!(pid, 0);
        Self { world, pid }
    }

    fn send(&self, what: &str) -> String {
        let output = self
            .world
            .run("bob", &format!("python3 /var/tmp/client.py {what}"))
            .unwrap();
        assert!(output.success(), "{output:?}\n{}", self.world.daemon_log());
        println!("{}", output.stdout);
        output.text().to_owned()
    }

    /// It is the same process still, and answers at once, over both transports.
    fn assert_unharmed(&self) {
        assert_eq!(
            self.world.daemon_pid().unwrap(),
            self.pid,
            "{}",
            self.world.daemon_log()
        );
        for socket in ["", "--socket /run/nixctl/socket"] {
            let began = Instant::now();
            let status = self
                .world
                .run("alice", &format!("nixctl {socket} status"))
                .unwrap();
            assert!(status.success(), "{status:?}");
            assert!(
                began.elapsed() < Duration::from_secs(3),
                "{:?}",
                began.elapsed()
            );
        }
    }
}

#[test]
fn garbage_and_oversized_frames_are_refused() {
    if !require() {
        return;
    }
    let attack = Attack::new("frames");
    attack.send("messages");
    attack.send("truncated");
    attack.assert_unharmed();
}

#[test]
fn silent_peers_are_cut_off() {
    if !require() {
        return;
    }
    let attack = Attack::new("silent");
    let said = attack.send("silent");
    assert!(said.starts_with("cut off after"), "{said}");
    attack.assert_unharmed();
}

#[test]
fn greedy_peers_are_held_to_their_share() {
    if !require() {
        return;
    }
    let attack = Attack::new("greedy");
    let served: u32 = attack.send("greedy").parse().unwrap();
    assert!(served <= 40, "{served} connections of one user were served");
    attack.assert_unharmed();
}

#[test]
fn memory_does_not_grow() {
    if !require() {
        return;
    }
    let attack = Attack::new("memory");
    attack.send("flood 200");
    let before = memory(&attack.world);
    attack.send("flood 2000");
    std::thread::sleep(Duration::from_secs(1));
    let after = memory(&attack.world);
    println!("RssAnon {before} KiB, then {after} KiB");
    assert!(
        after < before + 1024,
        "it grew from {before} to {after} KiB"
    );
    attack.assert_unharmed();
}
