//! What this machine and its people are called.
//!
//! Names that say nothing of anybody (`root`, `localhost`, what a fresh system is called) are none:
//! leaving them out would only make a report unreadable. Neither is a single letter.

use std::path::Path;

/// Names that every machine may have, and the words that stand for others.
const SAY_NOTHING: [&str; 18] = [
    "root",
    "nobody",
    "user",
    "users",
    "host",
    "home",
    "localhost",
    "localdomain",
    "local",
    "nix",
    "nixos",
    "nixctl",
    "nixbld",
    "secret",
    "address",
    "query",
    "debian",
    "ubuntu",
];
/// Ids of people: the others belong to services, and have the same names everywhere.
const PEOPLE: std::ops::Range<u32> = 1000..60_000;
/// Prefix of the build users, which may have ids of people.
const BUILD_USER: &str = "nixbld";

/// Names that must not be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Users, and what they are called in full.
    pub users: Vec<String>,
    /// The machine, with and without its domain, and the domain.
    pub hosts: Vec<String>,
    /// Home folders.
    pub homes: Vec<String>,
}

impl Names {
    /// Those of this machine.
    pub fn of_this_machine() -> Names {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let mut names = Names::default();
        for line in read("/etc/passwd").lines() {
            names.add_account(line);
        }
        for name in ["USER", "LOGNAME", "SUDO_USER"].map(variable) {
            names.add_user(&name);
        }
        names.add_home(&variable("HOME"));
        for folder in folders(Path::new("/home")) {
            names.add_user(&folder);
        }
        for path in ["/proc/sys/kernel/hostname", "/etc/hostname"] {
            names.add_host(read(path).trim());
        }
        names.add_host(&variable("HOSTNAME"));
        names
    }

    /// A line of passwd, when it is a person's.
    fn add_account(&mut self, line: &str) {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, full, home, ..] = fields.as_slice() else {
            return;
        };
        let is_person = uid.parse().is_ok_and(|uid: u32| PEOPLE.contains(&uid));
        if !is_person || name.starts_with(BUILD_USER) {
            return;
        }
        self.add_user(name);
        self.add_user(full.split(',').next().unwrap_or_default().trim());
        self.add_home(home);
    }

    fn add_user(&mut self, name: &str) {
        add(&mut self.users, name);
    }

    fn add_home(&mut self, home: &str) {
        let home = home.trim_end_matches('/');
        let is_home = home.starts_with('/') && home != "/root" && home.len() > 2;
        if is_home && !self.homes.iter().any(|it| it == home) {
            self.homes.push(home.to_owned());
        }
    }

    fn add_host(&mut self, name: &str) {
        add(&mut self.hosts, name);
        if let Some((first, domain)) = name.split_once('.') {
            add(&mut self.hosts, first);
            add(&mut self.hosts, domain);
        }
    }
}

fn add(names: &mut Vec<String>, name: &str) {
    let says_nothing = SAY_NOTHING.iter().any(|it| it.eq_ignore_ascii_case(name));
    let is_new = !names.iter().any(|it| it == name);
    if name.chars().count() > 1 && !says_nothing && is_new {
        names.push(name.to_owned());
    }
}

fn folders(parent: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(parent).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "lost+found")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_named_and_services_are_not() {
        let mut names = Names::default();
        for line in [
            "root:x:0:0:root:/root:/bin/bash",
            "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin",
            "alice:x:1000:1000:Alice Smith,,,:/srv/people/alice/:/bin/bash",
            "nixbld1:x:30001:30000::/var/empty:/sbin/nologin",
            "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin",
            "user:x:1001:1001::/home/user:/bin/sh",
            "nonsense",
        ] {
            names.add_account(line);
        }
        names.add_home("/root");
        names.add_home("/");
        assert_eq!(names.users, ["alice", "Alice Smith"]);
        assert_eq!(names.homes, ["/srv/people/alice", "/home/user"]);
    }

    #[test]
    fn a_machine_has_several_names() {
        let mut names = Names::default();
        for host in ["web.corp.example", "localhost", "a", ""] {
            names.add_host(host);
        }
        assert_eq!(names.hosts, ["web.corp.example", "web", "corp.example"]);
    }
}
