//! Ends the daemon at a chosen commit, for the lab. Without the feature `fault-injection` it does
//! nothing and costs nothing.

/// Called after every durable commit with its number since the start of the process.
#[cfg(not(feature = "fault-injection"))]
pub fn after_commit(commit: u64) {
    let _ = commit;
}

/// Called after every durable commit with its number since the start of the process.
///
/// The file `/run/nixctl-fault` holds `kill N`, `term N`, `hang N` or `pause N`: at commit N the file
/// is renamed and the daemon kills itself, asks itself to end, stands still until the machine is
/// stopped, or stands still for as long as the renamed file is there. While it holds `count`, the number of each commit is written beside it.
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
    let done = std::path::Path::new("/run/nixctl-fault.done");
    let _ = std::fs::rename(path, done);
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
        "pause" => {
            while done.exists() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        _ => {}
    }
}
