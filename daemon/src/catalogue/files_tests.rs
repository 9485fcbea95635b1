//! The shipped files are well-formed, say the same as the code, and the shell scripts work in
//! every shell of this machine.

use std::process::Command;

use super::*;

/// Sections of a unit-like file; every line must be a comment, a section or `Key=value`.
fn sections(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            found.push((name.to_owned(), Vec::new()));
        } else {
            let (key, value) = line
                .split_once('=')
                .unwrap_or_else(|| panic!("no key: {line}"));
            assert!(!key.contains(' '), "{line}");
            found
                .last_mut()
                .expect("a section first")
                .1
                .push((key.to_owned(), value.to_owned()));
        }
    }
    found
}

/// Names of all elements, and a check that every element is closed in order.
fn elements(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let end = if rest.starts_with("<!--") {
            rest.find("-->").expect("comment ends") + 2
        } else {
            rest.find('>').expect("tag ends")
        };
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        if tag.starts_with(['?', '!']) {
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap()
            .to_owned();
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name.as_str()));
        } else {
            names.push(name.clone());
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
    }
    assert_eq!(open, Vec::<String>::new());
    names
}

#[test]
fn every_file_ends_with_a_line_and_has_no_tabs() {
    for file in ALL {
        assert!(file.content.ends_with('\n'), "{}", file.path);
        assert!(
            !file.content.contains('\t') && !file.content.contains('\r'),
            "{}",
            file.path
        );
    }
}

#[test]
fn units_have_their_sections_and_name_the_installed_programs() {
    let names = |file: Shipped| -> Vec<String> {
        sections(file.content)
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(names(NIX_DAEMON_SERVICE), ["Unit", "Service", "Install"]);
    assert_eq!(names(NIX_DAEMON_SOCKET), ["Unit", "Socket", "Install"]);
    assert_eq!(names(NIXCTLD_SERVICE), ["Unit", "Service", "Install"]);
    assert_eq!(names(NIXCTLD_SOCKET), ["Unit", "Socket", "Install"]);
    assert_eq!(names(NIXCTLD_PROGRAM), ["Service"]);
    assert_eq!(names(BUS_ACTIVATION), ["D-BUS Service"]);
    assert!(
        NIXCTLD_SERVICE
            .content
            .contains("\nExecStart=/usr/local/bin/nixctld serve\n")
    );
    assert!(
        NIXCTLD_PROGRAM
            .content
            .contains("\nExecStart=\nExecStart=/opt/nixctl/bin/nixctld serve\n")
    );
    let listen = format!("\nListenStream={}\n", nixctl_proto::SOCKET_PATH);
    assert!(NIXCTLD_SOCKET.content.contains(&listen));
    assert!(
        NIXCTL_SYSUSERS
            .content
            .contains(&format!("\ng {} - -\n", nixctl_proto::ADMIN_GROUP))
    );
}

#[test]
fn the_bus_name_is_the_same_everywhere() {
    let name = nixctl_proto::BUS_NAME;
    assert!(BUS_ACTIVATION.content.contains(&format!("\nName={name}\n")));
    assert!(
        BUS_ACTIVATION
            .content
            .contains(&format!("\nSystemdService=dbus-{name}.service\n"))
    );
    assert!(
        NIXCTLD_SERVICE
            .content
            .contains(&format!("\nAlias=dbus-{name}.service\n"))
    );
    assert!(BUS_POLICY.content.contains(&format!("own=\"{name}\"")));
}

#[test]
fn the_bus_policy_lets_only_root_own_the_name() {
    let names = elements(BUS_POLICY.content);
    assert_eq!(names[0], "busconfig");
    let (root, everybody) = BUS_POLICY
        .content
        .split_once("context=\"default\"")
        .unwrap();
    assert!(root.contains("user=\"root\""));
    assert!(!everybody.contains("own="));
    // Nobody but root may send without naming an interface.
    assert_eq!(
        everybody.matches("send_destination").count(),
        everybody.matches("send_interface").count()
    );
}

#[test]
fn polkit_has_the_ten_actions_with_one_policy() {
    let names = elements(POLKIT_ACTIONS.content);
    assert_eq!(names.iter().filter(|name| *name == "action").count(), 10);
    for action in [
        "install",
        "install-untrusted",
        "uninstall",
        "upgrade",
        "downgrade",
        "repair",
        "switch",
        "rollback",
        "configure",
        "cancel-others",
    ] {
        let id = format!("<action id=\"org.nixctl1.{action}\">");
        assert!(POLKIT_ACTIONS.content.contains(&id), "{action}");
    }
    let count = |text: &str| POLKIT_ACTIONS.content.matches(text).count();
    assert_eq!(count("<allow_active>auth_admin_keep</allow_active>"), 10);
    assert_eq!(count("<allow_inactive>auth_admin</allow_inactive>"), 10);
    assert_eq!(count("<allow_any>auth_admin</allow_any>"), 10);
}

#[test]
fn the_common_block_is_the_known_installers_byte_for_byte() {
    // What DeterminateSystems/nix-installer and its fork insert and look for when they remove it,
    // the line of eight blanks included.
    assert_eq!(
        common_part(BLOCK_SH),
        "\n# Nix\nif [ -e '/nix/var/nix/profiles/default/etc/profile.d/nix-daemon.sh' ]; then\n    \
         . '/nix/var/nix/profiles/default/etc/profile.d/nix-daemon.sh'\nfi\n# End Nix\n\n        \n"
    );
    assert_eq!(
        common_part(BLOCK_FISH),
        "\n# Nix\nif test -e '/nix/var/nix/profiles/default/etc/profile.d/nix-daemon.fish'\n    \
         . '/nix/var/nix/profiles/default/etc/profile.d/nix-daemon.fish'\nend\n# End Nix\n\n"
    );
    assert!(
        own_part(BLOCK_SH).starts_with("# nixctl\n")
            && own_part(BLOCK_SH).ends_with("# End nixctl\n\n")
    );
    assert!(own_part(BLOCK_SH).contains(HOOK_SH.path));
    assert!(own_part(BLOCK_FISH).contains(HOOK_FISH.path));
}

/// Shells of this machine that read `sh` scripts, with the option that refuses unset variables.
fn shells() -> Vec<(&'static str, &'static [&'static str])> {
    [
        ("sh", &["-eu"][..]),
        ("dash", &["-eu"]),
        ("bash", &["--noprofile", "--norc", "-eu"]),
        ("zsh", &["-feu"]),
        ("busybox", &["sh", "-eu"]),
    ]
    .into_iter()
    .filter(|(name, _)| Command::new(name).arg("--help").output().is_ok())
    .collect()
}

/// What `script` prints with the hook read `times` times.
fn with_hook(shell: (&str, &[&str]), env: &[(&str, &str)], times: usize, print: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let hook = folder.path().join("hook.sh");
    std::fs::write(&hook, HOOK_SH.content).unwrap();
    let script = format!(
        "{}{print}",
        format!(". '{}'\n", hook.display()).repeat(times)
    );
    let program = ["/bin", "/usr/bin", "/usr/local/bin"]
        .iter()
        .map(|dir| format!("{dir}/{}", shell.0))
        .find(|path| std::path::Path::new(path).exists())
        .unwrap_or_else(|| shell.0.to_owned());
    let output = Command::new(program)
        .args(shell.1)
        .args(["-c", &script])
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{shell:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_hook_puts_the_profiles_in_order_and_heals_path() {
    const OWN: &str = "/nix/var/nix/profiles/nixctl/bin";
    const ALL: &str = "/nix/var/nix/profiles/default/bin";
    const USER: &str = "/h/.nix-profile/bin";
    let table = [
        (
            "/usr/bin:/bin".to_owned(),
            format!("{USER}:{ALL}:{OWN}:/usr/bin:/bin"),
        ),
        (
            format!("{ALL}:/usr/bin"),
            format!("{USER}:{ALL}:{OWN}:/usr/bin"),
        ),
        (
            format!("{USER}:{ALL}:/usr/bin"),
            format!("{USER}:{ALL}:{OWN}:/usr/bin"),
        ),
        (
            format!("{USER}:/usr/bin"),
            format!("{USER}:{ALL}:{OWN}:/usr/bin"),
        ),
        (
            format!("{OWN}:/usr/bin"),
            format!("{USER}:{ALL}:{OWN}:/usr/bin"),
        ),
        // What `nix shell` or a virtual environment put in front stays in front.
        (
            format!("/venv:{USER}:{ALL}:{OWN}:/bin"),
            format!("/venv:{USER}:{ALL}:{OWN}:/bin"),
        ),
    ];
    for shell in shells() {
        for (before, after) in &table {
            for times in [1, 2] {
                let env = [("PATH", before.as_str()), ("HOME", "/h")];
                assert_eq!(
                    with_hook(shell, &env, times, "printf %s \"$PATH\""),
                    *after,
                    "{} from {before}",
                    shell.0
                );
            }
        }
        // A guard variable of the other hook changes nothing.
        let env = [
            ("PATH", "/bin"),
            ("HOME", "/h"),
            ("__ETC_PROFILE_NIX_SOURCED", "1"),
        ];
        let path = with_hook(shell, &env, 1, "printf %s \"$PATH\"");
        assert_eq!(path, format!("{USER}:{ALL}:{OWN}:/bin"));
    }
}

#[test]
fn the_hook_takes_the_newer_profile_where_there_is_one_and_works_without_a_home() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join(".local/state/nix/profile")).unwrap();
    let home = home.path().to_str().unwrap();
    for shell in shells() {
        let profiles = "printf %s \"$NIX_PROFILES\"";
        assert_eq!(
            with_hook(shell, &[("PATH", "/bin"), ("HOME", home)], 1, profiles),
            format!(
                "/nix/var/nix/profiles/nixctl /nix/var/nix/profiles/default \
                 {home}/.local/state/nix/profile"
            )
        );
        let path = with_hook(shell, &[("PATH", "/bin")], 1, "printf %s \"$PATH\"");
        if shell.0 != "zsh" {
            // zsh finds a home by itself.
            assert_eq!(
                path,
                "/nix/var/nix/profiles/default/bin:/nix/var/nix/profiles/nixctl/bin:/bin"
            );
        }
    }
}

#[test]
fn the_hook_keeps_what_the_user_set_and_leaves_no_variables_behind() {
    for shell in shells() {
        let env = [
            ("PATH", "/bin"),
            ("HOME", "/h"),
            ("NIX_SSL_CERT_FILE", "/mine"),
            ("MANPATH", "/m"),
        ];
        let print = "printf '%s|%s|%s|%s' \"$NIX_SSL_CERT_FILE\" \"$MANPATH\" \"$XDG_DATA_DIRS\" \
                     \"${__nixctl_own-}${__nixctl_path-}${__nixctl_user-}${__nixctl_all-}\"";
        let printed = with_hook(shell, &env, 2, print);
        let fields: Vec<&str> = printed.split('|').collect();
        assert_eq!(fields[0], "/mine");
        assert!(fields[1].ends_with("/nixctl/share/man:/m"), "{printed}");
        assert_eq!(fields[1].matches("nixctl").count(), 1, "{printed}");
        assert!(
            fields[2].starts_with("/usr/local/share:/usr/share:"),
            "{printed}"
        );
        assert_eq!(fields[2].matches("nixctl").count(), 1, "{printed}");
        assert_eq!(fields[3], "");
    }
}

#[test]
fn the_fish_hook_puts_the_profiles_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let hook = folder.path().join("hook.fish");
    std::fs::write(&hook, HOOK_FISH.content).unwrap();
    let script = format!(
        "source {0}; source {0}; string join : $PATH",
        hook.display()
    );
    for (before, after) in [
        ("/a:/b", "U:D:N:/a:/b"),
        ("D:/a", "U:D:N:/a"),
        ("/v:U:D:N:/a", "/v:U:D:N:/a"),
        ("N:/a", "U:D:N:/a"),
        ("U:/a", "U:D:N:/a"),
    ] {
        let long = |text: &str| {
            text.replace('U', "/h/.nix-profile/bin")
                .replace('D', "/nix/var/nix/profiles/default/bin")
                .replace('N', "/nix/var/nix/profiles/nixctl/bin")
        };
        let Ok(output) = Command::new("/usr/bin/fish")
            .args(["-N", "-c", &script])
            .env_clear()
            .env("PATH", long(before))
            .env("HOME", "/h")
            .output()
        else {
            return; // no fish on this machine
        };
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            long(after),
            "from {before}"
        );
    }
}
