//! The real failures that were collected from the issue threads of the installers in use, and what
//! nixctl does about each.
//!
//! 134 rows, numbered as they were collected. `docs/failures.md` is this table on paper, and a
//! test holds the two together; `NIXCTL_BLESS=1` makes that test write the page anew. Rows of
//! macOS name the check that will cover them: its id is fixed, its probe is not written yet. What
//! the lab makes on a machine is named by its name there, and a test looks for it in the lab.

use std::fmt::Write;

use nixctl_proto::health::check::Check;

/// What nixctl does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// A check finds it and has a remedy.
    Repairs(Check),
    /// A check finds it and says what a person can do.
    Explains(Check),
    /// It cannot come about, or is refused before anything is changed: how.
    Prevents(&'static str),
    /// It is none of nixctl's business: why.
    OutOfScope(&'static str),
    /// A check of macOS that is not made yet: its id.
    Later(&'static str),
}

/// One failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub number: u16,
    /// What people saw.
    pub symptom: &'static str,
    /// What nixctl does.
    pub does: Does,
    /// The test that shows it: a file of the repository, and the function in it.
    pub test: Option<&'static str>,
    /// Damages of the lab that make it on a machine, see [`HEALED`].
    pub damages: &'static [&'static str],
}

impl Row {
    /// The same, made on a machine by these damages.
    const fn made(self, damages: &'static [&'static str]) -> Row {
        Row { damages, ..self }
    }
}

/// Each damage of the lab is made on a machine, found, and repaired or explained.
const HEALED: &str = "tests/tests/damage.rs: each_damage_is_found_and_healed";

/// Faults are made on a machine one at a time, found, and repaired.
const WHOLE: &str = "daemon/src/health/whole_tests.rs: each_fault_is_found_and_repaired";
/// Faults that are only explained.
const TOLD: &str = "daemon/src/health/whole_tests.rs: what_only_a_person_can_do_is_told";
/// Nix's database is damaged and put back together.
const DATABASE: &str = "daemon/src/health/mend/database_tests.rs: a_damaged_database_is_put_back_together_from_its_copy";
/// Obstacles are found before an install.
const PREFLIGHT: &str =
    "daemon/src/catalogue/preflight_tests.rs: each_obstacle_fails_its_own_check_with_its_code";
/// A cut after every record of the journal.
const CRASH: &str =
    "daemon/src/engine/tests/crash.rs: a_cut_after_every_record_comes_to_the_same_end";
/// A child that hangs is ended.
const HANGS: &str = "tests/tests/refusals.rs: a_child_that_hangs";
/// Labels and the policy.
const LABELS: &str = "daemon/src/health/judge/security.rs: policy_and_labels";
/// Store paths of Nix itself, and its profile.
const PATHS: &str =
    "daemon/src/health/judge/tree.rs: a_path_is_fetched_again_by_a_nix_that_is_there";
/// An old daemon.
const OLD: &str = "daemon/src/health/judge/versions.rs: an_old_daemon_is_restarted_once_it_is_idle";
/// An upgrade is cut off anywhere.
const UPGRADE: &str = "daemon/src/engine/tests/upgrade.rs: an_upgrade_that_is_cut_off_anywhere_ends_with_the_new_version";
/// Nix is looked for in every shell after an install.
const SHELLS: &str =
    "daemon/src/health/self_test_tests.rs: the_shell_is_tried_and_the_first_error_told";

use Does::{Explains, Later, OutOfScope, Prevents, Repairs};

const fn row(number: u16, symptom: &'static str, does: Does, test: Option<&'static str>) -> Row {
    Row {
        number,
        symptom,
        does,
        test,
        damages: &[],
    }
}

/// Every row.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(1, "macOS mounts the volume below /Volumes before fstab is read", Later("mounts.wrong-place"), None).made(&["store-mounted-elsewhere"]),
    row(2, "fstab names the volume by NAME= instead of UUID=", Later("mounts.fstab-by-name"), None),
    row(3, "the store is not mounted after an update of macOS", Later("mounts.not-mounted"), None).made(&["store-not-mounted-at-boot"]),
    row(4, "the store's launchd service does not initialise at boot", Later("mounts.not-mounted"), None),
    row(5, "a dialog asks for the volume's password at login", Later("mounts.locked"), None),
    row(6, "the keychain's password is refused: the volume has several users", Later("mounts.password-refused"), None),
    row(7, "the store's service failed once and is not tried again", Later("mounts.locked"), None),
    row(8, "other encryption software gave the volume another key", Later("mounts.password-refused"), None),
    row(9, "a switch of nix-darwin took the mount service away", Later("mounts.locked"), None),
    row(10, "the service's label is in launchd's list of disabled ones", Later("daemon.disabled"), None),
    row(11, "the volume's password is stored under another volume's id", Later("mounts.password-refused"), None),
    row(12, "synthetic.conf was rewritten and /nix is gone", Later("mounts.synthetic-lost"), None),
    row(13, "FileVault is on and the volume is mounted as if it were plain", Later("mounts.not-mounted"), None),
    row(14, "the login shell lies in /nix, which is mounted later", Later("shells.login-shell-in-store"), None),
    row(15, "launch agents failed because their programs lie in /nix", Later("mounts.waiting-units"), None).made(&["service-waits-for-the-store"]),
    row(16, "launchd looks for a job's program before the store is mounted", OutOfScope("it is how launchd works; nixctl's own jobs lie outside /nix"), None),
    row(17, "a new Mac has the old one's fstab and no volume", Later("mounts.stale-fstab"), None).made(&["fstab-names-what-is-gone"]),
    row(18, "the volume was deleted by its user", Later("tree.store-gone"), None),
    row(19, "the volume was silently not made", Prevents("every step is read back from the machine before the next one begins (NIX2009)"), None),
    row(20, "a command of the installer hangs for ever", Prevents("every external command has a deadline (NIX2003)"), Some(HANGS)),
    row(21, "the system runs from an external disk and the volume is elsewhere", Later("mounts.other-disk"), None),
    row(22, "fstab cannot be written without Full Disk Access", Later("mounts.full-disk-access"), None),
    row(23, "vifs cannot write fstab", Later("mounts.full-disk-access"), None),
    row(24, "DiskArbitration refuses (kDAReturnNotPrivileged)", Later("mounts.not-privileged"), None),
    row(25, "the volume must be mounted to be encrypted, and mounting is blocked", Later("mounts.full-disk-access"), None),
    row(26, "chmod of per-user folders is refused", Later("tree.rights"), None),
    row(27, "the keychain has no password for a volume that exists", Later("mounts.keychain"), None),
    row(28, "the keychain has a password for a volume that does not exist", Later("mounts.keychain"), None),
    row(29, "another installer stored the password under another name", Later("mounts.keychain"), None),
    row(30, "sudo asks dozens of times", Prevents("a request is authorised once, and the daemon is root"), Some("tests/tests/authority.rs: an_administrator_is_admitted_by_password")),
    row(31, "an install without a terminal does nothing and says nothing", Prevents("clients never need a terminal: errors have a code, exits a number"), Some("tests/tests/install.rs: json_is_one_document_an_event")),
    row(32, "the usual ids of the build users are taken", Prevents("a free range is searched; NIX1010 when there is none"), Some("daemon/src/catalogue/ids.rs: ids_are_kept_taken_as_asked_or_searched")),
    row(33, "device management denies the mount", Later("mounts.mount-denied"), None),
    row(34, "Time Machine's exclusions cannot be set", OutOfScope("backups are the administrator's; Nix works without the exclusion"), None),
    row(35, "Problem with the SSL CA cert: the bundle is a link of a removed nix-darwin", Repairs(Check::BundleDangling), Some(WHOLE)).made(&["bundle-is-a-link-to-nothing"]),
    row(36, "the same after an activation that failed", Repairs(Check::BundleDangling), Some(WHOLE)).made(&["bundle-is-a-link-to-nothing"]),
    row(37, "nix-darwin cannot be uninstalled because Nix is broken by it", Repairs(Check::BundleDangling), Some(WHOLE)).made(&["bundle-is-a-link-to-nothing"]),
    row(38, "half of nix-darwin is left and blocks the next install", Explains(Check::StaticLinks), Some(TOLD)).made(&["links-of-a-removed-generation"]),
    row(39, "nix-darwin's activation job fails at every boot", Later("leftovers.darwin-jobs"), None),
    row(40, "/etc/bashrc is a link of an earlier nix-darwin", Explains(Check::StaticLinks), Some(TOLD)).made(&["links-of-a-removed-generation"]),
    row(41, "the CA bundle is not passed to the daemon", Repairs(Check::SettingsMissing), Some(WHOLE)).made(&["settings-taken-out"]),
    row(42, "NIX_SSL_CERT_FILE is ignored behind an inspecting proxy", Later("tls.keychain-export"), None),
    row(43, "the installer cannot fetch behind an inspecting proxy", Prevents("NIX1005 names the host and the issuer, and [install] ssl_cert_file trusts it"), Some("tests/tests/tls.rs: an_unknown_authority_is_named_and_can_be_trusted")),
    row(44, "which hosts must be exempt from inspection is not known", Prevents("NIX1005 names the host that was refused"), Some("tests/tests/tls.rs: an_unknown_authority_is_named_and_can_be_trusted")),
    row(45, "an update of macOS took the ids of build users", Later("accounts.users-missing"), None).made(&["some-users-gone", "all-users-gone"]),
    row(46, "repairing the users needs a receipt that cannot be read", Later("accounts.users-missing"), None).made(&["some-users-gone"]),
    row(47, "the group of the build users is missing", Repairs(Check::GroupMissing), Some(WHOLE)).made(&["group-gone"]),
    row(48, "the build users group has no members", Repairs(Check::NotMembers), Some(WHOLE)).made(&["group-without-members"]),
    row(49, "the group is not found though it exists under a damaged name", Repairs(Check::GroupMissing), Some(WHOLE)).made(&["group-with-a-blank"]),
    row(50, "the directory of users answers with an error", Explains(Check::DirectorySilent), Some("daemon/src/health/judge/accounts.rs: what_is_wrong_is_named")).made(&["directory-without-an-answer"]),
    row(51, "per-user folders are missing for names with a backslash", OutOfScope("Nix itself makes and names these folders"), None),
    row(52, "the group exists with another id, made by a distribution's package", Prevents("a group that exists is taken over with its id"), Some("daemon/src/catalogue/ids.rs: ids_are_kept_taken_as_asked_or_searched")),
    row(53, "an id is taken by other software", Prevents("NIX1010, before anything is changed"), Some(PREFLIGHT)).made(&["number-of-a-user-taken"]),
    row(54, "dscl is busy for a moment", Later("accounts.directory-busy"), None),
    row(55, "existing users have ids of an earlier time", Explains(Check::Renumbered), Some(TOLD)),
    row(56, "a user that exists stops the second attempt", Prevents("users that exist are taken over"), Some("daemon/src/resource/users_tests.rs: right_ones_are_adopted_and_never_removed")),
    row(57, "a reinstall succeeds with 31 of 32 members", Repairs(Check::NotMembers), Some(WHOLE)).made(&["one-is-no-member"]),
    row(58, "auto-allocate-uids in a container that has no such ids", Explains(Check::Breaking), Some("daemon/src/health/judge/conf_tests.rs: what_is_wrong_is_named")),
    row(59, "the daemon is dead after boot: its units are links into an unmounted /nix", Repairs(Check::UnitLinked), Some(WHOLE)).made(&["links-into-a-store-that-comes-later"]),
    row(60, "/nix/store is a mount of its own and renaming into it fails", Prevents("a release is unpacked on the store's own file system"), None),
    row(61, "the unit is not found after an upgrade of the system", Repairs(Check::UnitLinked), Some(WHOLE)).made(&["units-are-links-into-nix"]),
    row(62, "the unit is masked by an earlier uninstall", Repairs(Check::Masked), Some(WHOLE)).made(&["service-masked", "socket-masked"]),
    row(63, "leftover units stop an install without a word", Prevents("NIX1009 names them before anything is changed"), Some(PREFLIGHT)),
    row(64, "stopping a unit that is not there is an error", Prevents("units that are gone are clean"), Some("daemon/src/resource/service.rs: units_that_are_gone_are_clean")),
    row(65, "root's profile leads elsewhere, the default profile to nothing", Repairs(Check::DefaultProfileDangling), Some(WHOLE)).made(&["default-profile-dangling", "roots-profile-dangling"]),
    row(66, "systemd-tmpfiles complains about files of others", Prevents("its complaint is told and not heeded"), Some("daemon/src/resource/tmpfiles.rs: complaints_about_others_are_noted")).made(&["no-folder-for-the-socket"]),
    row(67, "units cannot be enabled under SELinux", Repairs(Check::ModuleMissing), Some(LABELS)),
    row(68, "the same with /nix on a file system of its own", Repairs(Check::Labels), Some(LABELS)),
    row(69, "an image update gave the store other labels", Repairs(Check::Labels), Some(LABELS)),
    row(70, "the daemon is refused after a reboot under SELinux", Repairs(Check::Labels), Some(LABELS)),
    row(71, "an installer refuses where SELinux enforces", Prevents("the policy is loaded and /nix labelled before the units are started"), Some("daemon/src/catalogue/linux_tests.rs: labels_come_before_the_start")),
    row(72, "a hardened kernel refuses the sandbox of builds", Explains(Check::SandboxBroken), Some("daemon/src/health/judge/security.rs: the_setting_has_to_fit_the_machine")).made(&["namespaces-restricted"]),
    row(73, "/tmp is mounted with noexec and the installer cannot run", Prevents("nothing is run from /tmp; NIX1003 when the store itself cannot run programs"), Some(PREFLIGHT)),
    row(74, "an appliance does not mount /nix again at boot", Repairs(Check::NotMounted), Some(WHOLE)).made(&["store-not-mounted-at-boot", "store-unmounted"]),
    row(75, "/nix is a link to another disk", Explains(Check::NixIsLink), Some(TOLD)).made(&["nix-is-a-link"]),
    row(76, "`sudo nix` is not found", OutOfScope("sudo's secure_path is the administrator's; `sudo -i nix` finds it"), None),
    row(77, "$USER does not name the user who installs", Prevents("nothing of the caller's environment is used"), None),
    row(78, "xz is not installed", Prevents("nixctl unpacks by itself"), Some("daemon/src/payload/unpack_tests.rs: a_release_becomes_store_paths_and_a_manifest")),
    row(79, "an image-based system has a root that nothing can be added to", Prevents("NIX1011 says what has to be done to the image"), Some(PREFLIGHT)),
    row(80, "a distribution withdraws its support for that", Prevents("NIX1011"), Some(PREFLIGHT)),
    row(81, "an image with /nix in it does not start the daemon", Repairs(Check::Disabled), Some(WHOLE)).made(&["socket-disabled", "disabled-and-booted"]),
    row(82, "the root is read-only and /nix cannot be made", Prevents("NIX1002 and NIX1011"), Some(PREFLIGHT)),
    row(83, "the receipt cannot be written because /nix is not mounted", Prevents("the state lies outside /nix"), Some(CRASH)),
    row(84, "a fish that does not read /etc has no Nix", Prevents("NIX2008 names the shell that does not find Nix"), Some(SHELLS)),
    row(85, "a crash in the middle leaves neither an install nor an uninstaller", Prevents("every effect is in the journal before it happens"), Some(CRASH)),
    row(86, "an option is ignored on one kind of system", OutOfScope("Determinate's daemon is not installed by nixctl"), None),
    row(87, "an install on NixOS", Prevents("NIX1008"), Some(PREFLIGHT)),
    row(88, "WSL runs without systemd", Explains(Check::NoManager), Some("daemon/src/health/judge/daemon.rs: what_is_wrong_is_named")),
    row(89, "the service runs before its socket, which then refuses to start", Repairs(Check::BeforeSocket), Some(WHOLE)).made(&["daemon-before-its-socket"]),
    row(90, "systemd's bus is not up under WSL", Explains(Check::NoManager), Some("daemon/src/health/judge/daemon.rs: what_is_wrong_is_named")),
    row(91, "a container without systemd stops the installer", Prevents("units are left out where no systemd runs"), Some("daemon/src/catalogue/linux_tests.rs: a_container_without_init_gets_no_units")),
    row(92, "nothing starts nix-daemon in such a container", Prevents("nixctld in the foreground keeps it running"), Some("tests/tests/container.rs: the_daemon_in_the_foreground_keeps_nix_daemon_alive")).made(&["daemon-not-started"]),
    row(93, "the second install on a machine fails on what the first left", Prevents("installing twice is installing once"), Some("tests/tests/queue.rs: of_two_installs_at_once_one_installs")),
    row(94, "a CI action runs sudo though Nix is there", OutOfScope("it is the action's own order of steps"), None),
    row(95, "OpenRC, runit, s6 and dinit are not supported", Prevents("nixctld runs in the foreground under any of them"), Some("tests/tests/container.rs: the_daemon_in_the_foreground_keeps_nix_daemon_alive")),
    row(96, "a newer installer cannot read an older one's receipt", Prevents("the state has a version, and receipts of others are never parsed"), None),
    row(97, "the receipt is missing and nothing can be uninstalled", Prevents("what is there is found by looking: `install --adopt`"), Some("tests/tests/adopt.rs: an_install_by_script_is_taken_over_and_off")),
    row(98, "a cancelled install stops the next one", Prevents("a cancelled install is undone"), Some("tests/tests/install.rs: a_plan_changes_nothing_and_a_cancel_undoes")),
    row(99, "a download that was cut off is taken for whole", Prevents("nothing is used before its checksum was compared (NIX2001)"), Some("tests/tests/refusals.rs: an_altered_or_cut_download")),
    row(100, "the volume cannot be unmounted because it is in use", Later("mounts.busy"), None),
    row(101, "an uninstall fails on what is gone already", Prevents("taking off what is gone is no error"), Some("tests/tests/uninstall.rs: what_is_gone_already_is_no_error")),
    row(102, "launchctl bootout fails with an I/O error", Later("daemon.launchd-state"), None),
    row(103, "an uninstall removes all of /etc/nix, signing keys too", Prevents("only what was made is taken off"), Some("tests/tests/uninstall.rs: what_a_user_changed_is_kept_and_named")).made(&["signing-key-gone"]),
    row(104, "/nix stays until a reboot", Later("mounts.synthetic-left"), None),
    row(105, "synthetic.conf cannot be written again", Later("mounts.synthetic-lost"), None),
    row(106, "/nix is read-only after half an uninstall", Later("mounts.not-mounted"), None),
    row(107, "a copy of a start-up file stops the installer", Explains(Check::Backups), Some(TOLD)).made(&["backups-of-start-up-files"]),
    row(108, "users stay after an uninstall for want of a secure token", Later("accounts.left-behind"), None),
    row(109, "an uninstall leaves logs and empty files", Prevents("the machine is compared with how it was before"), Some("tests/tests/uninstall.rs: the_machine_is_as_before_and_a_second_time_is_no_error")),
    row(110, "the distribution's package of Nix is installed, too", Explains(Check::Package), Some(TOLD)).made(&["package-of-the-distribution"]),
    row(111, "the profile of an earlier install is of another kind", Prevents("Nix has a profile of its own"), None),
    row(112, "an update of the system takes the hook out of a start-up file", Repairs(Check::HookLost), Some(WHOLE)).made(&["zshrc-written-anew", "zprofile-written-anew", "bashrc-written-anew", "profile-does-not-read-the-folder"]),
    row(113, "a user's start-up file sets PATH anew", Prevents("NIX2008 names the shell that does not find Nix"), Some(SHELLS)).made(&["zprofile-written-anew"]),
    row(114, "the self-test hangs in an odd start-up file", Prevents("each shell of the self-test has a deadline"), Some(SHELLS)),
    row(115, "`ssh host nix` does not find Nix in zsh", Later("shells.hook-lost"), None),
    row(116, "upgrade-nix does not know the profile", Prevents("Nix has a profile of its own, which `nixctl upgrade` sets by store path"), Some(UPGRADE)),
    row(117, "upgrade-nix goes to an older version", Prevents("a version is asked for or told by the settings, and an older one is refused without the authority for it (NIX1041)"), Some("daemon/src/upgrade/plan_tests.rs: an_older_one_is_for_those_who_may")),
    row(118, "an upgrade took Nix out of the profile", Repairs(Check::ProfileDangling), Some(PATHS)).made(&["profile-link-gone", "profile-generation-gone"]),
    row(119, "an upgrade hangs on a daemon that does not answer", Repairs(Check::Silent), Some("daemon/src/health/judge/daemon.rs: what_is_wrong_is_named")).made(&["daemon-hangs"]),
    row(120, "client and daemon are of different versions after half an upgrade", Repairs(Check::DaemonOld), Some(OLD)).made(&["old-daemon-new-client"]),
    row(121, "an upgrade of somebody else's Nix", Prevents("what nixctl does not own it does not replace (NIX1014)"), Some("daemon/src/upgrade/plan_tests.rs: there_has_to_be_something_to_replace")),
    row(122, "a post-build-hook that is gone breaks every build", Repairs(Check::HookMissing), Some(WHOLE)).made(&["hook-after-builds-gone"]),
    row(123, "an old daemon with a new client", Repairs(Check::DaemonOld), Some(OLD)).made(&["old-daemon-new-client"]),
    row(124, "a user took Nix out of the profile", Repairs(Check::ProfileDangling), Some(PATHS)).made(&["profile-emptied"]),
    row(125, "garbage collection removed what a profile needs", Repairs(Check::DefaultProfileDangling), Some(WHOLE)).made(&["default-profile-dangling", "profile-generation-gone", "profile-in-the-store-gone", "users-profile-dangling", "root-of-the-collector-dangling"]),
    row(126, "a user's profile leads to a folder that is gone", Explains(Check::UserProfileDangling), Some(TOLD)).made(&["users-profile-dangling", "no-per-user-profiles"]),
    row(127, "an older Nix reads a profile of a newer one", Explains(Check::Mixed), Some("daemon/src/health/judge/versions.rs: another_version_that_is_found_first_is_named")).made(&["a-user-has-another-nix"]),
    row(128, "database disk image is malformed", Repairs(Check::Malformed), Some(DATABASE)).made(&["database-malformed", "database-is-no-database"]),
    row(129, "binary-cache-v6.sqlite is malformed", Repairs(Check::CacheMalformed), Some(WHOLE)).made(&["list-of-caches-malformed"]),
    row(130, "an upgrade of a package leaves Nix at the old version", Explains(Check::Package), Some(TOLD)).made(&["package-of-the-distribution", "another-nix-first"]),
    row(131, "auto-optimise-store breaks the store on macOS", Later("conf.breaking"), None),
    row(132, "a tool does not read included settings", OutOfScope("the tool has to follow !include"), None),
    row(133, "a daemon looks for Nix in fixed folders", Prevents("nixctl finds Nix in the profile that it made"), None),
    row(134, "a daemon sends telemetry", Prevents("nothing is ever sent anywhere"), None),
];

/// Numbers of the failures that a check covers.
pub fn covered_by(check: Check) -> Vec<u16> {
    let covered = ROWS.iter().filter(|row| match row.does {
        Repairs(by) | Explains(by) => by == check,
        Prevents(_) | OutOfScope(_) | Later(_) => false,
    });
    covered.map(|row| row.number).collect()
}

/// The table as a page of the manual.
pub fn page() -> String {
    let mut page = format!(
        "# Failures\n\n\
         134 ways in which an installation of Nix was seen to break, collected from the issue\n\
         threads of the installers in use, and what nixctl does about each. \"Later\" are checks of\n\
         macOS that are not made yet. The page is made from the code.\n\n\
         A row is shown by tests, and by damage that is made on a machine, found there, and repaired or\n\
         explained (`{HEALED}`). Where the row is about macOS, the damage\n\
         is what comes to the same on Linux.\n\n\
         | # | What people saw | What nixctl does | Damage | Test |\n|---|---|---|---|---|\n",
    );
    for row in ROWS {
        let does = match row.does {
            Repairs(check) => format!("repairs: `{check}`"),
            Explains(check) => format!("explains: `{check}`"),
            Prevents(how) => format!("prevents: {how}"),
            OutOfScope(why) => format!("out of scope: {why}"),
            Later(id) => format!("later: `{id}`"),
        };
        let test = row.test.map_or(String::new(), |test| format!("`{test}`"));
        let damages: Vec<String> = row.damages.iter().map(|it| format!("`{it}`")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| {} | {} | {does} | {} | {test} |",
            row.number,
            row.symptom,
            damages.join(", ")
        );
    }
    page.push_str(
        "\n## Checks\n\n| Id | Severity | Policy | What it finds | Failures |\n\
         |---|---|---|---|---|\n",
    );
    for check in Check::ALL {
        let rows: Vec<String> = covered_by(*check).iter().map(u16::to_string).collect();
        let _ = writeln!(
            page,
            "| `{check}` | {} | {} | {} | {} |",
            check.severity(),
            check.policy(),
            check.title(),
            rows.join(", ")
        );
    }
    page
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
