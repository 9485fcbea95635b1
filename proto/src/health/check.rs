//! The table of checks: one closed list of everything that is looked for on a machine.
//!
//! From each row come the id (`area.name`), how bad a finding is, what is done about it when the
//! settings say nothing, and the text of `nixctl check --explain`. `auto` is the default only of
//! what cannot lose data: a remedy that takes something away keeps it, and one that could end
//! somebody's work asks. Which real failures a check covers, the daemon knows.

use std::fmt;

pub use super::area::Area;
use super::{Policy, Severity};
use crate::settings::nearest;

macro_rules! checks {
    ($( $variant:ident = $area:ident / $name:literal, $severity:ident, $policy:ident, $title:literal, $explain:literal; )+) => {
        /// One thing that is looked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Check {
            $(
                #[doc = $title]
                $variant,
            )+
        }

        impl Check {
            /// Every check, in the order of the table.
            pub const ALL: &'static [Check] = &[$(Check::$variant),+];

            /// What it is looked for with.
            pub fn area(self) -> Area {
                match self { $(Check::$variant => Area::$area),+ }
            }

            /// Last part of its id.
            pub fn name(self) -> &'static str {
                match self { $(Check::$variant => $name),+ }
            }

            /// How bad a finding is, unless what was seen makes it worse or better.
            pub fn severity(self) -> Severity {
                match self { $(Check::$variant => Severity::$severity),+ }
            }

            /// What is done about it when the settings say nothing.
            pub fn policy(self) -> Policy {
                match self { $(Check::$variant => Policy::$policy),+ }
            }

            /// One line.
            pub fn title(self) -> &'static str {
                match self { $(Check::$variant => $title),+ }
            }

            /// Why it matters, and what is done.
            pub fn explanation(self) -> &'static str {
                match self { $(Check::$variant => $explain),+ }
            }
        }
    };
}

checks! {
    NotMounted = Mounts / "not-mounted", Critical, Auto,
        "the store is not mounted",
        "A line of /etc/fstab or a mount unit says that a file system belongs at /nix or below it, and nothing is mounted there. Without it the store is empty: no program of Nix can start, and what is written there now is hidden later. The mount is started through its unit, as the system would at boot; then what waited for it is started.";
    WrongPlace = Mounts / "wrong-place", Critical, Auto,
        "the store's file system is mounted elsewhere",
        "The file system that belongs at /nix is mounted at another place, by a desktop that opens every disk or by hand. Store paths name /nix, so from anywhere else nothing in it works. It is mounted at its own place as well; the other mount stays, since somebody may use it.";
    WrongDevice = Mounts / "wrong-device", Critical, Ask,
        "something else is mounted in the store's place",
        "What is mounted at /nix is not what /etc/fstab names. Which of the two is meant cannot be told from here, and exchanging them would take the store away from running programs: it is explained, and nothing is changed.";
    ReadOnly = Mounts / "read-only", Critical, Ask,
        "the store is read-only",
        "Nothing can be built, installed or collected. When fstab asks for `ro` that is a wish; otherwise the kernel has most likely made the file system read-only after an error, and writing to it again before it is checked can make the damage worse. So it is explained, and the file system is left as it is.";
    Noexec = Mounts / "noexec", Critical, Ask,
        "programs cannot run from the store",
        "The file system of /nix is mounted with `noexec`. The store holds programs; none of them can start. The option has to be taken out of fstab or of the mount unit.";
    NixIsLink = Mounts / "nix-is-link", Critical, Ask,
        "/nix is a symbolic link",
        "Nix refuses a store behind a symbolic link, because programs would see two names for the same path. The other place has to be mounted at /nix (mount --bind) instead.";
    WaitingUnits = Mounts / "waiting-units", Error, Auto,
        "units did not start because the store was not there",
        "These units start programs from /nix, or are links into it, and it was not mounted when the machine was booted. The store is there now. Their failure is forgotten and they are started.";

    SocketDead = Daemon / "socket-dead", Critical, Auto,
        "the socket of nix-daemon is not listening",
        "Ordinary users reach the store through nix-daemon.socket; while it is down every command of theirs ends with `cannot connect to socket`. Its failure, if any, is forgotten, and it is started.";
    ServiceFailed = Daemon / "service-failed", Error, Auto,
        "nix-daemon has failed",
        "The service ended with a failure, or started so often that systemd gave up. Its failure is forgotten, so that the socket can start it again.";
    BeforeSocket = Daemon / "before-socket", Error, Auto,
        "nix-daemon runs without its socket",
        "systemd refuses to start a socket while the service behind it runs already (`Socket service nix-daemon.service already active, refusing`). The service is stopped, the socket started, and the socket starts the service again.";
    Masked = Daemon / "masked", Error, Auto,
        "a unit of nix-daemon is masked",
        "A link to /dev/null stands in the place of the unit's file, and nothing can start it. Uninstallers of other installations do that. The link is taken away and the unit's own file is written again.";
    Disabled = Daemon / "disabled", Warning, Auto,
        "a unit of nix-daemon does not start at boot",
        "It runs now, or could, but the next boot will not start it. It is enabled again.";
    UnitLost = Daemon / "unit-lost", Critical, Auto,
        "a unit file of nix-daemon is gone",
        "Without its file systemd does not know the unit after the next reload. The file is written again.";
    UnitLinked = Daemon / "unit-linked", Error, Auto,
        "a unit of nix-daemon is a link into /nix",
        "systemd reads its units before it mounts anything. When /nix is a mount, a unit that is a link into it does not exist at boot, and the daemon never starts. The link is set aside and a real file takes its place.";
    UnitEdited = Daemon / "unit-edited", Warning, Ask,
        "a unit file of nix-daemon was changed",
        "The file that nixctl wrote has other content. Changes belong into a drop-in (`systemctl edit`), which no repair touches and which survives upgrades. When asked, the changed file is set aside and the original written again.";
    SocketTaken = Daemon / "socket-taken", Error, Ask,
        "another process listens in the place of nix-daemon",
        "Something serves the socket of the store without belonging to nix-daemon.service: a second daemon that somebody started by hand, or one of another installation. Two daemons with different settings give puzzling results. Ending it would end builds of others, so it is only named.";
    Silent = Daemon / "silent", Error, Ask,
        "nix-daemon runs and does not answer",
        "It accepts a connection and does not send its greeting within the deadline; every client hangs. Restarting it cures that, and ends builds that may still run, so it is done when asked.";
    ProgramLost = Daemon / "program-lost", Error, Ask,
        "a drop-in has nix-daemon started as a program that is not there",
        "A drop-in of nix-daemon.service, mostly what an installer left that was removed, replaces the program that is started by one that does not exist. Every start fails. The drop-in is somebody's own file and no repair touches it: it is named.";
    NoManager = Daemon / "no-manager", Error, Ask,
        "systemd does not run",
        "Nix was installed with units, and systemd is not what runs this machine now: under WSL it has to be switched on in /etc/wsl.conf, in a container it has to be the first process. Nothing starts nix-daemon until then.";

    Lost = Own / "lost", Warning, Auto,
        "something that nixctl made is gone",
        "A file, folder, program or group that nixctl made is not there any more. It is made again.";
    Changed = Own / "changed", Warning, Ask,
        "something that nixctl made was changed",
        "It has other content than nixctl gave it. That may be somebody's wish: it is set aside and written again only when asked.";
    OwnRights = Own / "rights", Warning, Auto,
        "something that nixctl made has another owner or mode",
        "Its content is as nixctl wrote it, and owner, mode or state are not: others may not read it, or may change what they must not. It is put right; the content stays.";
    CannotLook = Own / "cannot-look", Warning, Ask,
        "a check could not be made",
        "A file could not be read, or a program did not answer before its deadline. What this check would have found is not known.";
    Unwatched = Own / "unwatched", Warning, Ask,
        "files that change are not heard of",
        "The kernel tells nixctld when files that matter change, and it refuses to; mostly because a limit is reached, which all programs of root share (`sysctl fs.inotify`). Nothing goes unseen: what changes is found by the next round of all checks (`health.interval_seconds`), only later. Each of them tries to watch again.";

    StoreGone = Tree / "store-gone", Critical, Ask,
        "the store is gone",
        "There is no store at /nix, and nothing says that one should be mounted there. Nothing can bring back what was in it. `nixctl install` makes a new one with the Nix that was there.";
    Rights = Tree / "rights", Error, Auto,
        "a folder below /nix has another owner or mode",
        "Nix refuses to work, or lets others change what they must not, when these folders do not have the owner and the mode it expects. Owner and mode of exactly these folders are put right; nothing in them is touched.";
    FolderMissing = Tree / "folder-missing", Error, Auto,
        "a folder below /nix is missing",
        "Nix expects these folders and does not make all of them by itself. What is missing is made, with the owner and the mode that Nix wants.";
    ProfileDangling = Tree / "profile-dangling", Critical, Auto,
        "the profile that holds Nix leads to nothing",
        "Programs of Nix are found through this profile, and nix-daemon is started from it. It is made again from the store paths of the release, which are still there.";
    DefaultProfileDangling = Tree / "default-profile-dangling", Warning, Auto,
        "a profile of all users, or of root, leads to nothing",
        "The link names a store path that is gone, so everything in the profile has vanished, and commands that work on it fail. The link is set aside, not removed: an earlier generation of the profile beside it can be made the current one.";
    UserProfileDangling = Tree / "user-profile-dangling", Info, Ask,
        "a profile of a user leads to nothing",
        "The link names a store path that is gone. The user can go back to an earlier generation with `nix-env --rollback`, or remove the link; it is theirs, so it is only named.";
    RootDangling = Tree / "root-dangling", Info, Auto,
        "a root of the garbage collector leads to nothing",
        "The link keeps a store path that is gone. It keeps nothing else and is set aside, so that it does not hide what is missing.";
    PathMissing = Tree / "path-missing", Critical, Auto,
        "a store path of Nix itself is missing",
        "Nix is registered with this path, and it is not in the store: programs of Nix do not start, or fail later. The release that it came with is fetched again from the release server, with the checksum that it had, and the path is put back; one that was not installed by nixctl is fetched from a binary cache where that is possible.";
    PathDamaged = Tree / "path-damaged", Critical, Auto,
        "a store path of Nix itself is damaged",
        "Its files are not as large as the database says: mostly files of zero length after a power cut. The release that it came with is fetched again from the release server, with the checksum that it had, and the path is exchanged as a whole; one that was not installed by nixctl is fetched from a binary cache.";

    GroupMissing = Accounts / "group-missing", Critical, Auto,
        "the group of the build users is missing",
        "Every build of the daemon ends with `the group 'nixbld' specified in 'build-users-group' does not exist`. It is made again with the id it had; where only its name was damaged, it gets that back.";
    UsersMissing = Accounts / "users-missing", Error, Auto,
        "build users are missing",
        "Each build that runs at the same time needs a user of its own. The missing ones are made again.";
    NotMembers = Accounts / "not-members", Error, Auto,
        "build users are not in their group",
        "Nix takes exactly those users that the group lists; when it lists nobody, every build ends with `the build users group 'nixbld' has no members`. They are added.";
    Renumbered = Accounts / "renumbered", Error, Ask,
        "the group of the build users has another id than the store",
        "The store belongs to the group by its number. After a change of the group's id the build users may not add to it, and whoever gets the old id may. Other things may belong to the new id by now, so the id is given back by an administrator.";
    SharedId = Accounts / "shared-id", Error, Ask,
        "a build user shares its id with another user",
        "Builds run with the rights of that other user then, and two builds that run at once can disturb each other. Which of the two accounts has to move only an administrator can know.";
    DuplicateGroup = Accounts / "duplicate-group", Error, Ask,
        "the group of the build users exists twice",
        "Programs that read the file find one, programs that ask the directory the other; members and ids differ. One of the entries has to go.";
    DirectorySilent = Accounts / "directory-silent", Warning, Ask,
        "the directory of users does not answer",
        "sssd, LDAP or another source of users fails or takes too long for a plain question. Nix asks it before every build, and fails with it. The local files were looked at instead.";

    ConfUnreadable = Conf / "unreadable", Error, Ask,
        "nix.conf cannot be read by everybody",
        "Programs of ordinary users read it as well; those that cannot behave as if it were empty. A link to nothing is set aside when asked. Secrets belong into a file of its own, included with `!include`.";
    Syntax = Conf / "syntax", Critical, Ask,
        "nix.conf has a line that Nix does not accept",
        "With such a line every program of Nix ends at once with an error. When asked, the line is made a comment with a word on why.";
    IncludeMissing = Conf / "include-missing", Critical, Ask,
        "nix.conf includes a file that is not there",
        "`include` wants the file; without it every program of Nix ends with an error. (`!include` does not mind.) When asked, the line is made a comment.";
    Refused = Conf / "refused", Critical, Ask,
        "Nix does not accept its settings",
        "Nix itself was asked to read its settings and ended with an error. What it said is shown. When it names a setting whose value it does not take, that line is made a comment when asked.";
    UnknownSetting = Conf / "unknown-setting", Info, Ask,
        "nix.conf has a setting that Nix does not know",
        "Nix warns about it and goes on without it: a spelling mistake, or a setting of another version.";
    MissingCa = Conf / "missing-ca", Critical, Auto,
        "`ssl-cert-file` names a file that is not there",
        "Every download fails with `Problem with the SSL CA cert`. The line is made a comment, and the bundle that the machine has takes its place.";
    HookMissing = Conf / "hook-missing", Error, Ask,
        "`post-build-hook` or `pre-build-hook` names a program that is not there",
        "Every build fails at the end, upgrades of Nix included. Bringing the program back is best. When asked, the line is made a comment and nix-daemon is started again; what the hook did is not done any more.";
    NetrcMissing = Conf / "netrc-missing", Warning, Ask,
        "`netrc-file` names a file that is not there",
        "Caches that ask for a password are not used then. Bring the file back, or put it under nixctl's care with [[managed]].";
    KeyMissing = Conf / "key-missing", Error, Ask,
        "`secret-key-files` names a file that is not there",
        "What is built cannot be signed, and building fails. Bring the key back. When asked, the line is made a comment and nix-daemon is started again; nothing is signed any more.";
    WrongGroup = Conf / "wrong-group", Error, Ask,
        "`build-users-group` is not the group of the build users",
        "Builds look for their users in another group than the one nixctl keeps. It is set more than once, or was changed. When asked, the line is made a comment, the group is written in its place, and nix-daemon is started again.";
    Breaking = Conf / "breaking", Warning, Ask,
        "nix.conf has a setting that is known to break builds here",
        "The value is one that Nix takes and that cannot work on this machine; the finding says why, and what to write instead.";
    SettingsMissing = Conf / "settings-missing", Warning, Auto,
        "settings of nixctl are missing from nix.conf",
        "Lines that nixctl added are gone. They are added again; what is set to something else stays as it is.";

    DatabaseMissing = Database / "missing", Critical, Ask,
        "Nix's database is missing or empty",
        "Nix would begin a new, empty one and take every path in the store for garbage. When asked, the last good copy is put in its place, and what it does not know is registered again; without a copy the paths are registered from their files. What cannot be is named. Until then: no `nix-collect-garbage`.";
    Malformed = Database / "malformed", Critical, Ask,
        "Nix's database is damaged",
        "`database disk image is malformed`: after a crash, a full or failing disk. Nothing is written to it. When asked, the last good copy is put in its place, or a new database where there is no copy. The damaged one is set aside, and what it still says of paths that are missing then is registered again; of the others whole ones are registered from their files, and the rest is named. nix-daemon is stopped meanwhile.";
    SchemaDamaged = Database / "schema-damaged", Critical, Auto,
        "the file with the version of Nix's database is damaged",
        "It is empty, cut off or gone, mostly after a power cut. Nix then refuses to open the store, or begins a new database over the one that is there. The database itself is sound; the version is written again.";
    SchemaTooNew = Database / "schema-too-new", Critical, Ask,
        "Nix's database was made by a newer Nix",
        "This Nix refuses it. A database does not go back: install the newer Nix, or restore a copy from before.";
    CacheMalformed = Database / "cache-malformed", Warning, Auto,
        "the list of what binary caches have is damaged",
        "Every question to a cache fails. The file holds nothing that cannot be asked for again; it is set aside and Nix begins a new one.";
    Unregistered = Database / "unregistered", Error, Auto,
        "store paths of Nix itself are not in its database",
        "The next garbage collection would delete Nix. They are registered again.";

    BundleMissing = Tls / "bundle-missing", Error, Ask,
        "the machine has no CA certificates",
        "Nothing can be fetched over HTTPS. Install the system's package with CA certificates (ca-certificates).";
    BundleDangling = Tls / "bundle-dangling", Error, Auto,
        "the file with the CA certificates is a link to nothing",
        "nix-darwin or NixOS once managed this file, and the target went with it. Programs take the first name that exists and fail with `Problem with the SSL CA cert (path? access rights?)`. The link is set aside, so that the next bundle is found.";
    BundleDamaged = Tls / "bundle-damaged", Error, Ask,
        "the file with the CA certificates has none in it",
        "It is cut off, or something else was written over it. Have the system make it again (update-ca-certificates, update-ca-trust).";
    BundleExpired = Tls / "bundle-expired", Error, Ask,
        "all CA certificates have expired",
        "Every server is refused. Update the system's CA certificates; when the clock is wrong, set it first.";

    HookLost = Shells / "hook-lost", Warning, Auto,
        "a shell does not find Nix any more",
        "An update of the system has replaced the shell's start-up file, and the lines that put Nix on PATH went with it. They are added again at the beginning; the rest of the file stays byte for byte.";
    HookChanged = Shells / "hook-changed", Info, Ask,
        "the lines for Nix in a start-up file were changed",
        "Somebody has changed what nixctl wrote there, or another installer's lines stand there. They are left as they are.";

    ManagedDrifted = Managed / "drifted", Warning, Auto,
        "a file under nixctl's care is not as the settings say",
        "An entry of [[managed]] says what the file holds, its mode and its owner. It is gone, or differs: an update of the system took it away, or somebody changed it. It is written again, and the unit that the entry names is restarted when the content was another. A link in its place is replaced and never followed; a folder stays.";
    ManagedUnusable = Managed / "unusable", Warning, Ask,
        "an entry of [[managed]] cannot be kept",
        "Its source is not there or no text, its owner does not exist, or the file belongs to nixctl or to Nix. The other entries are kept all the same.";

    DaemonOld = Versions / "daemon-old", Warning, Auto,
        "nix-daemon runs an older program than is installed",
        "Nix was replaced, and the daemon was not restarted since: new clients and an old daemon give odd errors. It is restarted once no build runs.";
    Mixed = Versions / "mixed", Warning, Ask,
        "another version of Nix is found first",
        "A profile or the system has a Nix of its own whose version differs from the daemon's. Mostly that works; when it does not, the errors are puzzling.";

    StaticLinks = Leftovers / "static-links", Warning, Ask,
        "files that nix-darwin or NixOS once managed",
        "/etc/static or links into it: they lead to nothing once its generation is gone. Who manages the files now only an administrator knows.";
    Receipt = Leftovers / "receipt", Warning, Ask,
        "another installer takes Nix for its own",
        "Its receipt, uninstaller or daemon is still there. Running it would take away, or change, what nixctl looks after.";
    Backups = Leftovers / "backups", Info, Ask,
        "copies of start-up files that an earlier installer made",
        "They may hold the only copy of somebody's settings, and keep the official installer from running. Compare and move them away.";
    Package = Leftovers / "package", Warning, Ask,
        "the distribution's own package of Nix is installed, too",
        "Two programs of the same name, and perhaps two units for one daemon. Remove the package.";
    SingleUser = Leftovers / "single-user", Warning, Ask,
        "traces of an installation for a single user",
        "A user's own Nix, or a store that belongs to a user, comes from an installation without a daemon. Commands of that user may bypass the daemon.";

    BytesLow = Space / "bytes-low", Warning, Ask,
        "little room is left",
        "A full disk cuts builds and downloads off, and databases can be damaged by it. `nix-collect-garbage` frees what nothing needs; with `--delete-older-than 30d` old generations as well.";
    InodesLow = Space / "inodes-low", Warning, Ask,
        "few inodes are left",
        "A file system can be full although bytes are free: every file needs an inode, and a store has many small files. `nix-collect-garbage` frees what nothing needs.";

    ModuleMissing = Selinux / "module-missing", Error, Auto,
        "the SELinux policy for the store is not loaded",
        "Without it systemd may not read unit files and programs in the store. It is loaded again and the store is labelled.";
    Labels = Selinux / "labels", Error, Auto,
        "files of Nix have wrong SELinux labels",
        "systemd and confined programs are refused access. Relabelling of the whole system, a restored backup and a mount that was labelled while empty do that. /nix is labelled again.";

    SandboxBroken = Sandbox / "broken", Error, Ask,
        "the build sandbox does not work any more",
        "Namespaces that a sandboxed build needs cannot be made: an update has restricted them, or the container has. Builds fail until that is allowed again, or sandboxing is switched off, which is done only when asked: builds then see the whole machine.";
    SandboxUnused = Sandbox / "unused", Info, Ask,
        "the build sandbox could be used again",
        "It was switched off because it did not work here, and now it would. When asked, it is switched on.";

    ClockWrong = Clock / "wrong", Error, Ask,
        "the clock is wrong",
        "It shows a time before this program was made. Certificates look as if they were not valid yet, and downloads fail with misleading errors. Set it: `timedatectl set-ntp true`.";

    Attention = Operations / "attention", Error, Ask,
        "an operation failed and could not be undone",
        "What is left of it is in its journal. Repair the cause, then `nixctl retry` it.";
    Unfinished = Operations / "unfinished", Warning, Ask,
        "an operation waits",
        "It goes on by itself when what it waits for is there; until then the machine is between two states, both of which work.";

    ReleaseAvailable = Upgrade / "available", Info, Ask,
        "there is a newer Nix",
        "The release feed has a newer version, and this machine's turn to take it has come. `nixctl upgrade` takes it; with `upgrade.policy = \"auto\"` the machine does so by itself.";
    FeedMissing = Upgrade / "feed-missing", Info, Ask,
        "the release feed cannot be fetched",
        "Its server cannot be reached, or has no such file. Nothing is changed by that, but nothing is heard of new releases either, nor of releases that were withdrawn: until it can be read again the machine takes none by itself. After three days this is a warning.";
    FeedStale = Upgrade / "feed-stale", Warning, Ask,
        "the release feed is out of date",
        "It has expired, is from the future, or is older than one that was seen before. Somebody may keep newer releases from this machine, or give it withdrawn ones: it is not gone by. When the clock is right, whoever publishes the feed has to sign a new one.";
    FeedUntrusted = Upgrade / "feed-untrusted", Error, Ask,
        "the release feed is not signed by a key that is trusted",
        "It was changed on its way, or somebody else publishes there now, or the settings do not name the publisher's new key. It is not gone by. Compare `upgrade.feed_keys` with what the publisher says elsewhere.";
    FeedMalformed = Upgrade / "feed-malformed", Warning, Ask,
        "the release feed is not what a release feed looks like",
        "It is cut off, too large, of another channel, or has something in it that this nixctl does not know. Nothing of it is gone by. Whoever publishes it can look with `nixctl release verify`.";
    FollowBlocked = Upgrade / "follow-blocked", Warning, Ask,
        "the machine cannot go to the generation that its feed names",
        "The feed of `[system] follow` names none for the group of this machine, or going to the one that it names failed here. `nixctl status` says which, and when it is tried again; `nixctl switch` tries it now.";
}

impl Check {
    /// The stable id: `area.name`.
    pub fn id(self) -> String {
        format!("{}.{}", self.area().name(), self.name())
    }

    /// Whether it is only made, or made in full, when an area is looked at deeply. That a round
    /// which was not deep has no such finding says nothing: the last one stands.
    pub fn is_deep(self) -> bool {
        matches!(
            self,
            Check::Silent
                | Check::DirectorySilent
                | Check::PathDamaged
                | Check::Refused
                | Check::UnknownSetting
                | Check::Malformed
                | Check::CacheMalformed
                | Check::Unregistered
                | Check::ModuleMissing
                | Check::SandboxBroken
                | Check::SandboxUnused
        )
    }

    /// The id that is nearest to a wrong one, if any is near enough to be meant.
    pub fn nearest(wrong: &str) -> Option<String> {
        let ids: Vec<String> = Check::ALL.iter().map(|check| check.id()).collect();
        nearest(wrong, ids.iter().map(String::as_str)).map(str::to_owned)
    }

    /// The check with this id.
    pub fn by_id(id: &str) -> Option<Check> {
        let (area, name) = id.split_once('.')?;
        let mut all = Check::ALL.iter().copied();
        all.find(|check| check.area().name() == area && check.name() == name)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.area().name(), self.name())
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
