//! Ends the daemon at a chosen commit, for the lab. Without the feature `fault-injection` it does
//! nothing and costs nothing.

/// Called after every durable commit with its number since the start of the process.
#[cfg(not(feature = "fault-injection"))]
pub fn after_commit(commit: u64) {
    let _ = commit;
}

/// Called after every durable commit with its number since the start of the process.
///
/// The file `/run/nixctl-fault` holds `kill N`, `term N`, `hang N` or `pause N`: at commit N, or at the
/// next one when that has passed already, the file is renamed and the daemon kills itself, asks itself
/// to end, stands still until the machine is stopped, or stands still for as long as the renamed file is
/// there. `kill N VERSION` is for a daemon of that version alone. While it holds `count`, the number of
/// each commit is written beside it, and once more beside that for each version.
#[cfg(feature = "fault-injection")]
pub fn after_commit(commit: u64) {
    let path = std::path::Path::new("/run/nixctl-fault");
    let Ok(text) = std::fs::read_to_string(path) else {
        return;
    };
    if text.trim() == "count" {
        let version = nixctl_proto::version();
        for name in ["count".to_owned(), format!("count-{version}")] {
            let _ = std::fs::write(format!("/run/nixctl-fault.{name}"), commit.to_string());
        }
        return;
    }
    let Some(how) = due(&text, commit) else {
        return;
    };
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

/// What is to be done at this commit. A daemon that has just started commits what it sees of the
/// machine, at its own time: the commit that was meant may be over before the file is there.
#[cfg(feature = "fault-injection")]
fn due(text: &str, commit: u64) -> Option<&str> {
    let mut words = text.split_whitespace();
    let how = words.next()?;
    let number: u64 = words.next()?.parse().ok()?;
    let is_meant = words.next().is_none_or(|it| it == nixctl_proto::version());
    (is_meant && commit >= number).then_some(how)
}

#[cfg(all(test, feature = "fault-injection"))]
mod tests {
    use super::due;

    #[test]
    fn a_fault_is_due_at_its_commit_or_at_the_next_when_that_has_passed() {
        for (text, commit, how) in [
            ("kill 3\n", 2, None),
            ("kill 3\n", 3, Some("kill")),
            ("pause 2", 3, Some("pause")),
            ("pause", 3, None),
            ("pause x", 3, None),
            ("kill 3 9.9.9", 3, None),
            (
                concat!("kill 3 ", env!("CARGO_PKG_VERSION")),
                3,
                Some("kill"),
            ),
        ] {
            assert_eq!(due(text, commit), how, "{text} {commit}");
        }
    }
}
