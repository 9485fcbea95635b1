//! Faults, each made by the means of the tests alone.

use super::*;

/// What it is for people, how it is made, and the check that has to find it.
pub(super) type Fault = (&'static str, fn(&Machine), Check);

/// Faults with a remedy.
pub(super) fn faults() -> Vec<Fault> {
    const SOCKET: &str = "/etc/systemd/system/nix-daemon.socket";
    const SERVICE: &str = "/etc/systemd/system/nix-daemon.service";
    vec![
        (
            "a disk that was not mounted at boot",
            |m| {
                m.put("/etc/fstab", "/dev/vdb /nix ext4 defaults 0 2\n");
                m.put("/dev/vdb", "");
                m.services.set("nix.mount", "generated", "failed");
            },
            Check::NotMounted,
        ),
        (
            "the socket was stopped",
            |m| m.services.set(SOCKET_UNIT, "enabled", "inactive"),
            Check::SocketDead,
        ),
        (
            "the socket failed",
            |m| m.services.set(SOCKET_UNIT, "enabled", "failed"),
            Check::SocketDead,
        ),
        (
            "the service failed",
            |m| m.services.set(SERVICE_UNIT, "enabled", "failed"),
            Check::ServiceFailed,
        ),
        (
            "the service was started by hand",
            |m| {
                m.services.set(SOCKET_UNIT, "enabled", "inactive");
                m.services.set(SERVICE_UNIT, "enabled", "active");
            },
            Check::BeforeSocket,
        ),
        (
            "the socket was masked",
            |m| {
                link(m, "/dev/null", SOCKET);
                m.services.set(SOCKET_UNIT, "masked", "inactive");
            },
            Check::Masked,
        ),
        (
            "the service was disabled",
            |m| m.services.set(SERVICE_UNIT, "disabled", "inactive"),
            Check::Disabled,
        ),
        (
            "the socket's file was deleted",
            |m| remove(m, SOCKET),
            Check::UnitLost,
        ),
        (
            "the service's file became a link into the store",
            |m| link(m, "/nix/var/nix/profiles/default/x", SERVICE),
            Check::UnitLinked,
        ),
        (
            "the service's file was edited",
            |m| replace(m, SERVICE, "TimeoutStopSec=10", "TimeoutStopSec=99"),
            Check::UnitEdited,
        ),
        (
            "an update wrote the start-up file anew",
            |m| m.put(RC, OF_THE_USER),
            Check::HookLost,
        ),
        (
            "the group was deleted",
            |m| m.put("/etc/group", "root:x:0:\n"),
            Check::GroupMissing,
        ),
        (
            "the group lost its members",
            |m| m.put("/etc/group", "root:x:0:\nnixbld:x:30000:\n"),
            Check::NotMembers,
        ),
        (
            "a user was deleted",
            |m| {
                let text = m.text("/etc/passwd").unwrap();
                let kept = text.lines().filter(|line| !line.starts_with("nixbld2:"));
                m.put("/etc/passwd", kept.collect::<Vec<_>>().join("\n") + "\n");
                // As userdel does.
                replace(m, "/etc/group", "nixbld2,", "");
            },
            Check::UsersMissing,
        ),
        (
            "everybody may write below /nix",
            |m| m.chmod("/nix/var/nix/db", 0o777),
            Check::Rights,
        ),
        (
            "nobody may enter /nix",
            |m| m.chmod("/nix", 0o700),
            Check::Rights,
        ),
        (
            "the store lost its mode",
            |m| m.chmod("/nix/store", 0o755),
            Check::Rights,
        ),
        (
            "a folder of Nix is gone",
            |m| remove(m, "/nix/var/nix/temproots"),
            Check::FolderMissing,
        ),
        (
            "the default profile's store path was deleted",
            |m| remove(m, "/nix/store/aaa-env"),
            Check::DefaultProfileDangling,
        ),
        (
            "a root of the garbage collector leads to nothing",
            |m| link(m, "/nix/store/bbb", "/nix/var/nix/gcroots/mine"),
            Check::RootDangling,
        ),
        (
            "the CA bundle is a link that nix-darwin left",
            |m| {
                m.put("/etc/pki/tls/certs/ca-bundle.crt", m.text(BUNDLE).unwrap());
                link(m, "/etc/static/ssl/certs/ca-certificates.crt", BUNDLE);
            },
            Check::BundleDangling,
        ),
        (
            "settings were deleted",
            |m| replace(m, CONF, "build-users-group = nixbld\n", ""),
            Check::SettingsMissing,
        ),
        (
            "a hook that is not there",
            |m| m.put(CONF, m.text(CONF).unwrap() + "post-build-hook = /gone\n"),
            Check::HookMissing,
        ),
        (
            "a CA file that is not there",
            |m| replace(m, CONF, BUNDLE, "/etc/gone.pem"),
            Check::MissingCa,
        ),
        (
            "a key that is not there",
            |m| m.put(CONF, m.text(CONF).unwrap() + "secret-key-files = /gone\n"),
            Check::KeyMissing,
        ),
        (
            "a line that Nix does not understand",
            |m| m.put(CONF, m.text(CONF).unwrap() + "cores=4\n"),
            Check::Syntax,
        ),
        (
            "an include that is not there",
            |m| m.put(CONF, m.text(CONF).unwrap() + "include gone.conf\n"),
            Check::IncludeMissing,
        ),
        (
            "the database's version was emptied by a power cut",
            |m| m.put("/nix/var/nix/db/schema", ""),
            Check::SchemaDamaged,
        ),
        (
            "the database's version is gone",
            |m| remove(m, "/nix/var/nix/db/schema"),
            Check::SchemaDamaged,
        ),
        (
            "a list of a binary cache was overwritten",
            |m| m.put("/root/.cache/nix/binary-cache-v6.sqlite", "garbage"),
            Check::CacheMalformed,
        ),
        (
            "the socket's file lost its mode",
            |m| m.chmod(SOCKET, 0o600),
            Check::OwnRights,
        ),
    ]
}

/// Faults that only a person can do something about.
pub(super) fn told() -> Vec<Fault> {
    vec![
        (
            "/nix is a link",
            |m| {
                std::fs::rename(m.path("/nix"), m.path("/data")).unwrap();
                link(m, "/data", "/nix");
            },
            Check::NixIsLink,
        ),
        (
            "the database has no content",
            |m| m.put(DATABASE, ""),
            Check::DatabaseMissing,
        ),
        (
            "the database was overwritten",
            |m| m.put(DATABASE, [7; 600]),
            Check::Malformed,
        ),
        (
            "a newer Nix was here",
            |m| m.put("/nix/var/nix/db/schema", "11"),
            Check::SchemaTooNew,
        ),
        (
            "nix-darwin was here",
            |m| link(m, "/nix/store/x", "/etc/static"),
            Check::StaticLinks,
        ),
        (
            "another installer was here",
            |m| m.put("/nix/receipt.json", "{}"),
            Check::Receipt,
        ),
        (
            "a copy of a start-up file",
            |m| m.put("/etc/bashrc.backup-before-nix", "old"),
            Check::Backups,
        ),
        (
            "the distribution's package",
            |m| m.put("/usr/bin/nix", ""),
            Check::Package,
        ),
        (
            "a user's profile leads to nothing",
            |m| {
                link(
                    m,
                    "/nix/store/gone",
                    &format!("{PROFILES}/per-user/jo/profile"),
                )
            },
            Check::UserProfileDangling,
        ),
        (
            "the group has another id",
            |m| replace(m, "/etc/group", "nixbld:x:30000:", "nixbld:x:998:"),
            Check::Renumbered,
        ),
        (
            "the group is there twice",
            |m| {
                m.put(
                    "/etc/group",
                    m.text("/etc/group").unwrap() + "nixbld:x:998:\n",
                )
            },
            Check::DuplicateGroup,
        ),
        (
            "the CA bundle was cut off",
            |m| m.put(BUNDLE, "-----BEGIN CERTIFICATE-----\n"),
            Check::BundleDamaged,
        ),
        (
            "nobody but root can read the settings",
            |m| m.chmod(CONF, 0o600),
            Check::ConfUnreadable,
        ),
    ]
}
