//! What a broken build of nixctld does, for the lab. Without the feature `fault-injection` it does
//! nothing and costs nothing.

/// At the start of a daemon.
#[cfg(not(feature = "fault-injection"))]
pub fn at_start() {}

/// Once a daemon has said that it is ready.
#[cfg(not(feature = "fault-injection"))]
pub fn when_ready() {}

/// Whether it takes every state for damaged.
#[cfg(not(feature = "fault-injection"))]
pub fn cannot_read() -> bool {
    false
}

/// Whether it cannot undo what it did.
#[cfg(not(feature = "fault-injection"))]
pub fn is_stuck() -> bool {
    false
}

/// Whether its last proof fails.
#[cfg(not(feature = "fault-injection"))]
pub fn is_worse() -> bool {
    false
}

#[cfg(feature = "fault-injection")]
fn is(name: &str) -> bool {
    nixctl_proto::marked("fault") == Some(name)
}

/// At the start of a daemon.
#[cfg(feature = "fault-injection")]
pub fn at_start() {
    if is("crash") {
        std::process::abort();
    }
    if is("exit") {
        std::process::exit(0);
    }
    if is("hang") {
        stand_still();
    }
}

/// Once a daemon has said that it is ready.
#[cfg(feature = "fault-injection")]
pub fn when_ready() {
    if is("mute") {
        stand_still();
    }
    if is("later") {
        std::thread::spawn(|| {
            std::thread::sleep(std::time::Duration::from_secs(5));
            std::process::abort();
        });
    }
}

/// Whether it takes every state for damaged.
#[cfg(feature = "fault-injection")]
pub fn cannot_read() -> bool {
    is("unreadable")
}

/// Whether it cannot undo what it did.
#[cfg(feature = "fault-injection")]
pub fn is_stuck() -> bool {
    is("stuck")
}

/// Whether its last proof fails.
#[cfg(feature = "fault-injection")]
pub fn is_worse() -> bool {
    is("worse") || is_stuck()
}

#[cfg(feature = "fault-injection")]
fn stand_still() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}
