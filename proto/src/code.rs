//! The error catalogue: one closed table of everything that can be refused or go wrong.
//!
//! From each row come the code on the terminal (`NIX1001`), the D-Bus error name
//! (`org.nixctl1.Error.NoSpace`), the exit code of `nixctl`, the text of `nixctl explain` and the
//! row in `docs/errors.md` (a test holds the page to the table). Codes are never reused: 1xxx are
//! found before anything is changed, 2xxx happen while working, 3xxx concern the request and the
//! caller, 9xxx are our own bugs. JSON has a code by its name; the socket and the database have it
//! by its number, so that rows may stand in any order.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Exit codes of `nixctl`, fixed by the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done as asked.
    Done = 0,
    /// The operation failed and was undone.
    Failed = 1,
    /// The command line could not be understood.
    Usage = 2,
    /// The caller may not do this.
    NotAuthorized = 3,
    /// No daemon answered.
    Unreachable = 4,
    /// Refused before anything was changed.
    Refused = 5,
    /// Findings need attention.
    Findings = 6,
    /// Failed and not undone: somebody must look at the machine.
    Attention = 7,
    /// Gave up waiting; the operation goes on.
    TimedOut = 8,
}

macro_rules! catalogue {
    ($( $variant:ident = $number:literal, $exit:ident, $summary:literal, help $help:literal, $explain:literal; )+) => {
        /// A stable code for one kind of failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(
                #[doc = $summary]
                $variant,
            )+
        }

        impl Code {
            /// Every code, in the order of the catalogue.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// The number printed as `NIXnnnn`.
            pub fn number(self) -> u16 {
                match self { $(Code::$variant => $number),+ }
            }

            /// Last part of the D-Bus error name `org.nixctl1.Error.NAME`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => stringify!($variant)),+ }
            }

            /// Exit code of a client whose request ended with this code before any work began.
            pub fn exit(self) -> Exit {
                match self { $(Code::$variant => Exit::$exit),+ }
            }

            /// One sentence on what the code means.
            pub fn summary(self) -> &'static str {
                match self { $(Code::$variant => $summary),+ }
            }

            /// What to do about it, when the failure itself has nothing more exact to say.
            pub fn help(self) -> &'static str {
                match self { $(Code::$variant => $help),+ }
            }

            /// The longer text of `nixctl explain`.
            pub fn explanation(self) -> &'static str {
                match self { $(Code::$variant => $explain),+ }
            }
        }
    };
}

catalogue! {
    NoSpace = 1001, Refused, "there is not enough free space or inodes for the operation",
        help "free the bytes named above on that file system, then run the command again",
        "Before anything is changed nixctl adds up what the unpacked Nix, its database and a reserve need, in bytes and inodes, on each file system involved, and compares that with what is free there.";
    ReadOnly = 1002, Refused, "a place that must be written is read-only",
        help "remount the file system read-write, or install into an image with --root DIR",
        "The file system that holds /etc, /nix or the state folder is mounted read-only, or is an image-based system whose root can never be written.";
    NoexecTemp = 1003, Refused, "programs cannot run from the place where Nix would live",
        help "mount that file system without the option noexec",
        "The store holds programs. On a file system mounted with noexec none of them can start, so an install would succeed and nothing would work.";
    Network = 1004, Refused, "the release server cannot be reached",
        help "check the connection and the proxy settings, or use --source with a downloaded file",
        "The name did not resolve, the connection was refused, or no answer came within the deadline.";
    TlsIntercepted = 1005, Refused, "the server's certificate was issued by an authority this machine does not trust",
        help "add the authority to the machine's CA bundle, or name the bundle in [install] ssl_cert_file",
        "A proxy that inspects TLS (Zscaler, Netskope and others) answers with certificates of its own. The message names the host and the issuer that was seen.";
    ClockOff = 1006, Refused, "the machine's clock is far from the real time",
        help "set the clock (timedatectl set-ntp true), then run the command again",
        "With a wrong clock certificates look expired or not yet valid, and every download fails with a misleading error.";
    ForeignNix = 1007, Refused, "another installation of Nix is on this machine",
        help "take it over with `nixctl install --adopt`, or remove it first",
        "Nix from the official script, Determinate, a distribution package or a single-user install was found. nixctl never mixes with it silently. Where the message says that adopting is safe, --adopt makes it owned without reinstalling.";
    IsNixos = 1008, Refused, "this machine runs NixOS, which already owns Nix",
        help "use `nixctl switch` to move between generations; Nix itself comes with the system",
        "On NixOS the system configuration decides which Nix is installed. Installing a second one beside it would be undone by the next switch.";
    Leftovers = 1009, Refused, "leftovers of an earlier installation are in the way",
        help "look at the files named above and move them away, then run the command again",
        "Backups such as *.backup-before-nix that differ from the file they saved, links into /etc/static, or unit files that are not ours were found. They may hold the only copy of somebody's settings, so they are not removed automatically.";
    IdsTaken = 1010, Refused, "no free range of ids for the build users was found",
        help "choose a range with [install] build_user_id_base in /etc/nixctl/config.toml",
        "nixctl asks the local files, getent and thereby sssd or LDAP for ids in use, and looks for a gap large enough for all build users and their group.";
    UnsupportedSystem = 1011, Refused, "this kind of system cannot be installed on in this way",
        help "see the message for what is needed on this system",
        "Image-based systems with a truly read-only root (composefs, ostree), WSL without systemd, and containers whose id maps do not cover the build users need something to be changed first; the message says what.";
    MissingTool = 1012, Refused, "a program that is needed is not installed",
        help "install the program named above with the system's package manager",
        "nixctl brings its own unpacker and downloader, but users and groups are made by the system's own tools (systemd-sysusers, useradd or busybox adduser).";
    BadSource = 1013, Refused, "the source does not hold a Nix release",
        help "name a tarball nix-VERSION-SYSTEM.tar.xz or .tar.zst, or a release server's URL",
        "A release is an archive with one top folder nix-VERSION-SYSTEM that holds store/ and .reginfo. The file was missing, empty, of another kind or made for another system.";
    NothingInstalled = 1014, Refused, "nixctl has not installed Nix on this machine",
        help "see `nixctl status`; an install made by others can be adopted with `nixctl install --adopt`",
        "There is nothing recorded as owned, so there is nothing to act on.";
    Busy = 1015, Refused, "another operation is in the way",
        help "follow it with `nixctl watch`, or stop it with `nixctl cancel OP`",
        "One operation at a time changes the machine; others queue. The queue of this caller is full, or the operation asked for cannot be queued behind the one that runs.";
    Moved = 1016, Refused, "the machine is no longer as the caller expected",
        help "look at `nixctl status` and ask again",
        "The request named the state it was made for (expected-current), and the machine has moved on since.";
    StateDamaged = 1017, Refused, "the daemon's state could not be read",
        help "see the log for where it was set aside; `nixctl install --adopt` rebuilds it from the machine",
        "The database under /var/lib/nixctl was damaged or made by a newer nixctld. It is never deleted: it is moved beside itself and a new one is begun.";
    AlreadyInstalled = 1018, Refused, "nixctl already owns another version of Nix on this machine",
        help "see `nixctl status`; change the version with `nixctl upgrade`",
        "An install never replaces a Nix that nixctl installed before. Installing the same version again only checks and completes it.";
    OlderRefused = 1041, Refused, "the version is older than the one that is there",
        help "ask for it by name: `nixctl upgrade --to VERSION`",
        "Going to an older version needs the authority for a downgrade. It is asked for when the version is named; a source of which the version was not known before, and a machine that was upgraded meanwhile, are refused.";
    NothingBefore = 1042, Refused, "there is no earlier version to go back to",
        help "name the version: `nixctl upgrade --to VERSION`",
        "Going back needs the version before the last upgrade, which nixctl keeps in the store until the upgrade after it.";
    BadTarget = 1019, Refused, "the target is no generation of a system",
        help "name a store path that holds etc/, such as the result of building config.system.build.toplevel",
        "A switch goes to a store path in the shape of a NixOS system: etc/, etc/systemd/system/, sw/, and mostly activate and bin/switch-to-configuration. What was named is no store path, is nowhere to be found, or does not have that shape.";
    NoServiceManager = 1020, Refused, "the service manager does not answer",
        help "see whether the system bus runs: `systemctl status dbus.socket`",
        "Units are started and stopped by systemd over the system bus. Without the bus root is still served over the socket and may look, but nothing that needs units is begun.";
    CacheSilent = 1023, Refused, "a binary cache does not answer",
        help "see which cache is named above and whether it can be reached, then run the command again",
        "Before a switch is planned the caches are asked what the target consists of. One that may have it could not be reached, or did not answer in time. Nothing was changed.";
    CacheDamaged = 1024, Refused, "a binary cache gives something else than it promises",
        help "repair the cache named above, or take another one with --from",
        "An archive was cut short, is larger than the cache says, has another hash, or is not there although the cache lists it. Nothing of it was used, and nothing was changed.";
    FeedUntrusted = 1031, Refused, "the release feed is not signed by a key that is trusted",
        help "compare [upgrade] feed_keys in the settings with the keys that whoever publishes the feed names",
        "A release feed is believed when one of the keys of the settings signed exactly its bytes. This one is signed by other keys only, by none, or was altered afterwards. Nothing of it was used, and nothing was changed.";
    FeedStale = 1032, Refused, "the release feed is out of its time, or older than one that was seen before",
        help "see whether the machine's clock is right; else whoever publishes the feed must publish it anew",
        "A feed says when it was made and when it ends to be true, and has a number that never goes down. One that has expired, comes from the future, or has a lower number than one this machine saw before may be an old one that somebody shows again, so that releases which mend something are not heard of. Nothing of it was used.";
    FeedMalformed = 1033, Refused, "the release feed is not what a release feed looks like",
        help "see whether [upgrade] feed names the right file and [upgrade] channel the right channel",
        "The file is too large, is no JSON of the documented form (docs/feed.md), has values that make no sense, is of a newer form than this nixctl knows, or is the feed of another channel. Nothing of it was used, and nothing was changed.";

    ChecksumMismatch = 2001, Failed, "the download is not what its checksum says",
        help "run the command again; when it fails again, the mirror or a proxy alters the file",
        "The SHA-256 of the bytes differs from the one published beside the release or given on the command line. Nothing of the file was used.";
    BadArchive = 2002, Failed, "the archive is damaged or holds what a release never holds",
        help "fetch the release again from a server you trust",
        "The archive was cut short, or has entries with absolute paths, `..`, device nodes, set-uid bits or names that are not store paths. Nothing outside the unpacking folder was written.";
    Timeout = 2003, Failed, "a step took longer than its deadline",
        help "look at what hung with `nixctl show OP`, then `nixctl retry OP`",
        "Every external command and every phase has a deadline. The process was ended and the operation undone.";
    DiskFull = 2004, Failed, "the disk became full while working",
        help "free space on the file system named above, then `nixctl retry OP`",
        "Something else used the space that was free when the plan was made.";
    CommandFailed = 2005, Failed, "an external program failed",
        help "see its output above, or `nixctl show OP`",
        "The program's command line, exit status and the end of its output are part of the error.";
    FileFailed = 2006, Failed, "a file could not be read or written",
        help "see the path and the reason above",
        "The operating system refused, or a link leads into the store, where nothing is changed that way. The operation was undone.";
    ServiceFailed = 2007, Failed, "the service manager could not do what was asked",
        help "see `systemctl status` of the unit named above and the journal",
        "A job of systemd failed, was cancelled, or did not end within its deadline.";
    SelfTestFailed = 2008, Failed, "Nix was installed but did not work, so the install was undone",
        help "see which shell or user failed above and what it printed",
        "After an install nixctl builds a small derivation through the daemon, as root and as an ordinary user, and looks for Nix on PATH in a login shell of every shell present.";
    Drifted = 2009, Failed, "a thing that was made is not as it should be",
        help "see what was seen and what was expected above",
        "After each step the result is read back from the machine. It differed from what the step should have made.";
    NotUndone = 2010, Attention, "the operation failed and could not be undone completely",
        help "see `nixctl show OP` for what is left, repair the cause, then `nixctl retry OP`",
        "Undoing failed too. The operation keeps its journal and can be retried from where it stands.";
    Cancelled = 2011, Failed, "the operation was cancelled and undone",
        help "run the command again when you want it after all",
        "Somebody asked for it with `nixctl cancel`. The machine is as before.";
    WorkerLost = 2012, Failed, "the worker process ended unexpectedly",
        help "see the log of nixctld; `nixctl retry OP` tries again",
        "Downloads and unpacking run in a child of the daemon. It was killed, for want of memory perhaps.";
    CannotFetch = 2013, Failed, "store paths could not be fetched",
        help "see which cache or path is named above; `nixctl retry OP` tries again",
        "A binary cache did not answer, does not have the path, or its signature is by no key in trusted-public-keys. While only the network is missing, the switch waits and goes on by itself.";
    Incomplete = 2014, Failed, "a part of a generation is missing from the store",
        help "look for damage with `nixctl check`, then `nixctl retry OP`",
        "Nothing becomes the default, and no hybrid generation is composed, unless every store path of its closure is there.";
    UnitFailed = 2015, Failed, "a unit failed while the running system was changed",
        help "see the unit's log above and `systemctl status`",
        "After stopping, reloading, restarting and starting, each unit that failed is named with the end of its log. Unless the settings say otherwise the switch goes back.";
    NotHealthy = 2016, Failed, "the new generation runs but is not healthy",
        help "see which unit or probe is named above and [[switch.probes]] in the settings",
        "Before a generation becomes the default its units must stay up for the time of [switch] soak_seconds, without restarting by themselves, and every probe must succeed.";
    NotConfirmed = 2017, Failed, "nobody confirmed the new generation in time",
        help "run `nixctl confirm` over a new connection within the time given with --confirm-within",
        "With --confirm-within the machine goes back by itself unless somebody who can still reach it says that all is well.";
    BuildsRunning = 2040, Failed, "builds were still running when their time was over",
        help "wait for them, or give them more time: `nixctl upgrade --drain SECONDS`",
        "Before Nix is replaced nobody new is served, and builds that run get the time of [upgrade] drain_seconds to end. Those that were running went on, and nothing was changed.";
    SchemaNewer = 2041, Failed, "the version does not read the database of the Nix that is there",
        help "stay with this version, name one that is new enough, or give up what the copy does not have: --restore-database",
        "A newer Nix may write its database in a form that older versions refuse. nixctl goes back across such a change only with `nixctl upgrade --rollback --restore-database` (or --to): then the copy of the database from before the change takes its place, and what was registered since is registered again, without its signatures. Without such a copy it is refused.";
    Unproven = 2042, Failed, "the new Nix made something worse, so the old one is back",
        help "run `nixctl show OP` to see what was found, and `nixctl check` for how the machine is now",
        "After an upgrade the machine is looked at as after a repair. Something was found that was not there before, and the upgrade was undone.";
    NotRepaired = 2018, Failed, "the remedy did not help, or made something worse, so it was undone",
        help "run `nixctl check` to see what is wrong now, and what a person can do about it",
        "After a repair the machine is looked at again. A remedy after which nothing is better, or something else is worse than before, is taken back: the machine is as it was. The daemon tries it again by itself after a pause that grows, and gives up after a few attempts until somebody asks with `nixctl repair`.";

    NotAuthorized = 3001, NotAuthorized, "you may not do this",
        help "run it as root, ask to be put into the group nixctl, or authenticate as an administrator",
        "Changes need root, membership in the group nixctl, or an administrator's password through polkit. Changing settings and untrusted sources always need an administrator.";
    Unreachable = 3002, Unreachable, "the daemon does not answer",
        help "start it with `systemctl start nixctld`, or as root `nixctl daemon install`",
        "Neither the bus name org.nixctl1 nor the socket answered.";
    InvalidArgument = 3003, Usage, "an argument is not valid",
        help "see `nixctl help` for what is accepted",
        "A path, name, number or option had the wrong form.";
    UnknownOption = 3004, Usage, "an option is not known to the daemon",
        help "leave the option out, or update nixctld",
        "Unknown options are refused rather than ignored, so that nobody relies on a safety option that is not there.";
    NotFound = 3005, Usage, "there is no such thing",
        help "list what there is with `nixctl operations`",
        "The operation, code or key named does not exist.";
    Conflict = 3006, Refused, "the same request id was used for another request",
        help "use a fresh request id",
        "A request id names one request for ever: repeating it returns the same operation, and using it for something else is an error.";
    NotCancellable = 3007, Refused, "the operation cannot be cancelled any more",
        help "wait for its end with `nixctl watch OP`",
        "It has ended, or has passed the point after which stopping would leave the machine neither as before nor as asked.";
    NotRetryable = 3008, Refused, "the operation cannot be retried",
        help "start a new one",
        "Only operations that failed, were undone or wait for attention can be retried.";
    Untrusted = 3009, NotAuthorized, "the source is not among the trusted ones",
        help "let an administrator run it, or add the source to [install] trusted_sources",
        "Members of the group nixctl may install from trusted sources only; any other source could hold anything and run it as root.";
    BadSettings = 3010, Refused, "a settings file is not valid",
        help "correct the line named above",
        "An unknown key or a wrong type in /etc/nixctl is an error that names the file, the line and the nearest known key; the daemon keeps the last good settings.";
    BadFrame = 3011, Unreachable, "the other side does not speak the protocol",
        help "update nixctl and nixctld to the same version",
        "A frame was larger than allowed, cut short or not decodable, or the protocol versions do not match.";
    TooMany = 3012, Refused, "too many requests from this user",
        help "wait until earlier requests have ended",
        "Connections, watches and queued operations are limited for each user.";
    WaitTimedOut = 3013, TimedOut, "gave up waiting; the operation goes on",
        help "follow it with `nixctl watch OP`",
        "The time given with --timeout passed before the operation ended.";
    NotConfirmable = 3014, Refused, "the operation cannot be confirmed",
        help "see what it waits for with `nixctl show OP`",
        "Only a switch that was asked to wait for a confirmation takes one, and only over another connection than the one that asked for it: that the old connection still works says nothing about the network of the new generation.";

    UnknownRequest = 3015, Refused, "the daemon does not know what it was asked for",
        help "update nixctld, or use the nixctl of its version",
        "Client and daemon of neighbouring versions understand each other, but only a newer daemon can do what came with a newer version. Nothing was changed.";

    Internal = 9001, Failed, "internal error: nixctl met a case it should have handled",
        help "run `nixctl show OP` and report what it prints",
        "This is a bug. The daemon stays up and the operation was undone.";

    NotReplaceable = 1043, Refused, "nixctl cannot replace itself on this machine",
        help "replace its programs as they were put here: with `nixctl daemon install`, or by the system's packages",
        "For nixctl to replace itself, systemd must run the daemon and start it again, and its programs must have been put on this machine by `nixctl daemon install`. What others put there, others replace.";
    Unusable = 2043, Failed, "the other version of nixctl does not start here, or does not fit",
        help "see why above; take an archive for this system, of a version next to this one",
        "Before anything is exchanged the other nixctld is run, without any right, and asked what it is. It did not start or answer, is not the version that was asked for, or cannot read the state of the one that runs.";
    TakenBack = 2044, Failed, "the other nixctld did not serve, so the one before is back",
        help "see why above, and its log: `journalctl -u nixctld`",
        "After the programs are exchanged the other daemon must start, answer, and leave nothing worse than it was, within a time. It did not, so the programs and the state of before were put back, and the daemon of before runs again.";
}

impl Code {
    /// Full D-Bus error name.
    pub fn dbus_name(self) -> String {
        format!("org.nixctl1.Error.{}", self.name())
    }

    /// Looks a code up by `NIX1001`, `1001` or its name, ignoring case.
    pub fn parse(text: &str) -> Option<Code> {
        let text = text.trim();
        let digits = match text.get(..3) {
            Some(prefix) if prefix.eq_ignore_ascii_case("nix") => &text[3..],
            _ => text,
        };
        let number = digits.parse::<u16>().ok();
        Code::ALL
            .iter()
            .copied()
            .find(|code| Some(code.number()) == number || code.name().eq_ignore_ascii_case(text))
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.serialize_str(self.name()),
            false => serializer.serialize_u16(self.number()),
        }
    }
}

impl<'de> Deserialize<'de> for Code {
    /// A number that is not in the table is a code of a newer version, and reads as
    /// [`Code::Internal`]: the words that come with it say what happened.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = Code::ALL.iter().copied();
        if deserializer.is_human_readable() {
            let name = String::deserialize(deserializer)?;
            let known = all.clone().find(|code| code.name() == name);
            return known.ok_or_else(|| D::Error::custom(format!("`{name:.40}` is no code")));
        }
        let number = u16::deserialize(deserializer)?;
        let known = all.clone().find(|code| code.number() == number);
        Ok(known.unwrap_or(Code::Internal))
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NIX{:04}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_parse_back() {
        let mut numbers: Vec<u16> = Code::ALL.iter().map(|c| c.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(Code::parse(&code.to_string()), Some(*code));
            assert_eq!(Code::parse(code.name()), Some(*code));
        }
        assert_eq!(Code::parse("NIX0000"), None);
        assert_eq!(Code::parse("äö"), None);
    }

    #[test]
    fn a_code_is_a_name_in_json_and_a_number_in_bytes() {
        let config = bincode::config::standard();
        for code in Code::ALL {
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.name()));
            assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), *code);
            let bytes = bincode::serde::encode_to_vec(code, config).unwrap();
            let number = bincode::serde::encode_to_vec(code.number(), config).unwrap();
            assert_eq!(bytes, number);
            let (back, _) = bincode::serde::decode_from_slice::<Code, _>(&bytes, config).unwrap();
            assert_eq!(back, *code);
        }
        assert!(serde_json::from_str::<Code>("\"FromTheFuture\"").is_err());
        let newer = bincode::serde::encode_to_vec(4711u16, config).unwrap();
        let (code, _) = bincode::serde::decode_from_slice::<Code, _>(&newer, config).unwrap();
        assert_eq!(code, Code::Internal);
    }
}
