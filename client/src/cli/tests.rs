//! Which command lines are understood.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn what_is_accepted() {
    for line in [
        "nixctl install --version 2.26.3 --yes --json",
        "nixctl --private --root /image install --source ./nix.tar.xz --yes",
        "nixctl install --adopt --dry-run",
        "nixctl install -y --no-wait --reason because",
        "nixctl install -y --timeout 5",
        "nixctl uninstall --keep-store --yes",
        "nixctl plan install --version 2.26.3 --json",
        "nixctl plan uninstall --keep-store",
        "nixctl plan --json uninstall",
        "nixctl plan --instance - --json --strategy stepwise --svg x.svg",
        "nixctl plan --instance x.json --check plan.json",
        "nixctl switch ./result --yes",
        "nixctl switch /x --from https://c --strategy stepwise --budget 2GiB",
        "nixctl switch ./x --allow-downtime --budget 1GB",
        "nixctl switch ./x --drop-old --soak 0 --confirm-within 20 --dry-run --json --svg x.svg",
        "nixctl rollback",
        "nixctl rollback --to 42 --dry-run",
        "nixctl rollback --from https://cache.example",
        "nixctl plan switch ./result --json --svg x.svg --strategy atomic",
        "nixctl plan rollback --to 42",
        "nixctl confirm",
        "nixctl confirm 0123456789abcdef",
        "nixctl generations --json",
        "nixctl diff 41 ./result",
        "nixctl status --json --socket /run/x",
        "nixctl check",
        "nixctl check mounts.not-mounted conf.syntax --json",
        "nixctl check --last",
        "nixctl check --explain conf.syntax",
        "nixctl check --list --json",
        "nixctl repair",
        "nixctl repair conf.syntax tree.rights:/nix/store --dry-run --json",
        "nixctl repair --yes --no-wait",
        "nixctl plan repair conf.syntax",
        "nixctl history -n 5 --json",
        "nixctl report --output x.json --yes",
        "nixctl report --output -",
        "nixctl operations --limit 0",
        "nixctl show 0123456789abcdef",
        "nixctl watch",
        "nixctl watch /org/nixctl1/operation/0123456789abcdef --timeout 1",
        "nixctl cancel 0123456789abcdef",
        "nixctl retry 0123456789abcdef --no-wait",
        "nixctl release key a-1 --secret s --public p",
        "nixctl release new --channel stable",
        "nixctl release new --channel fleet --target web=/nix/store/x-web,https://a --target db=/nix/store/x",
        "nixctl release new --from f --no-target web",
        "nixctl release new --from f --halt 2.34.8 --pause 2.35.0 -o g --replace",
        "nixctl release new --from f --version 2.34.8 --system x86_64-linux=https://a/x,f \
         --start-share 0.05 --minutes 2880 --curve quadratic --start 2026-11-22T04:10:12Z",
        "nixctl release sign f --key-file s -o g",
        "nixctl release verify - --key a-1:AAAA --key p --json",
        "nixctl explain",
        "nixctl explain NIX1001 --color never",
        "nixctl config",
        "nixctl config get install.version",
        "nixctl config set install.version 2.26.3",
        "nixctl daemon",
        "nixctl daemon run -v",
        "nixctl completions fish",
        "nixctl man /tmp",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_is_refused() {
    for line in [
        "nixctl",
        "nixctl install --version 1 --source x",
        "nixctl install --sha256 abc",
        "nixctl install --timeout x",
        "nixctl install --no-wait --timeout 5",
        "nixctl plan",
        "nixctl plan --svg x.svg",
        "nixctl plan --instance - --strategy some",
        "nixctl plan --instance - --check x --fill-budget",
        "nixctl switch",
        "nixctl switch x --budget 5X",
        "nixctl switch x --strategy quick",
        "nixctl switch x --soak soon",
        "nixctl rollback 42",
        "nixctl rollback --to 0",
        "nixctl rollback --to -1",
        "nixctl confirm ../x",
        "nixctl diff 1",
        "nixctl plan switch",
        "nixctl show",
        "nixctl show ../../etc",
        "nixctl status --private --socket /run/x",
        "nixctl status -v -q",
        "nixctl upgrade --to",
        "nixctl metrics now",
        "nixctl check conf.synax",
        "nixctl check tree.rights:/nix",
        "nixctl check --explain",
        "nixctl check --explain nothing",
        "nixctl check --list conf.syntax",
        "nixctl check --explain conf.syntax --list",
        "nixctl repair tree.right:/nix",
        "nixctl history -n few",
        "nixctl release",
        "nixctl release key a-1 --secret s",
        "nixctl release new",
        "nixctl release new --channel a/b",
        "nixctl release new --channel stable --version 2.34.8",
        "nixctl release new --channel stable --halt 2.34.8",
        "nixctl release new --channel stable --start-share 0.5",
        "nixctl release new --channel stable --days 0",
        "nixctl release new --from f --version x --system x86_64-linux=https://a/x,f",
        "nixctl release new --from f --version 2 --system x86_64-linux=https://a/x,f --minutes -1",
        "nixctl release sign f -o g",
        "nixctl release verify f",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn a_checksum_is_lower_case() {
    assert_eq!(sha256(&"A".repeat(64)), Ok("a".repeat(64)));
    assert!(sha256(&"é".repeat(32)).is_err());
}
