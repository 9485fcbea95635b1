//! Ends the daemon at a chosen commit, for the lab. Without the feature `fault-injection` it does
//! nothing and costs nothing.

/// Called after every durable commit with its number since the start of the process.
#[cfg(not(feature = "fault-injection"))]
pub fn after_commit(commit: u64) {
    let _ = commit;
}

/// Called after every durable commit with its number since the start of the process.
///
/// The file `/run/nixctl-fault` holds `kill N`, `term N` or `hang N`: at commit N the file is
/// renamed and the daemon kills itself, asks itself to end, or stands still until the machine is
/// stopped. While it holds `count`, the number of each commit is written beside it.
#[cfg(feature = "fault-injection")]
pub fn after_commit(commit: u64) {
    let path = std::path::Path::new("/run/nixctl-fault");
    let Ok(text) = std::fs::read_to_string(path) else {
        return;
    };
    if text.trim() == "count" {
        let _ = std::fs::write("/run/nixctl-fault.count", commit.to_string());
        return;
    }
    let Some((how, number)) = text.trim().split_once(' ') else {
        return;
    };
    if number.parse() != Ok(commit) {
        return;
    }
    let _ = std::fs::rename(path, "/run/nixctl-fault.done");
    let me = nix::unistd::Pid::this();
    match how {
        "kill" => {
            let _ = nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGKILL);
        }
        "term" => {
            let _ = nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGTERM);
        }
        "hang" => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        _ => {}
    }
}
