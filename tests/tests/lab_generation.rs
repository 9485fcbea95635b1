//! Generations are real: a machine boots the old one, the new one comes from a cache and takes over.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nixctl_lab::generation::{
    Generation, Host, SYSTEM_PROFILE, Service, Spec, Tweak, generation, machine,
};
use nixctl_lab::require_disks;

/// How long a service may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// Asks every service; each must answer, and run from the generation's closure.
fn answers(host: &Host, generation: &Generation) -> Vec<(Service, String)> {
    let known = |program: &str| {
        let of = |path: &&str| program.starts_with(&format!("{path}/"));
        generation
            .closure
            .iter()
            .map(|one| &*one.path)
            .any(|path| of(&path))
    };
    Service::ALL
        .into_iter()
        .map(|service| {
            let answer = service.wait(&host.machine, PATIENCE).unwrap();
            let program = service.program(&host.machine).unwrap();
            assert!(known(&program), "{} runs {program}", service.unit());
            (service, answer)
        })
        .collect()
}

/// The parts beside the services: timer, template instance, socket, /etc, failed units.
fn check_system(host: &Host, generation: &Generation) {
    let name = &generation.spec.name;
    let sh = |script: &str| {
        host.machine
            .sh(script)
            .unwrap()
            .ok()
            .unwrap()
            .text()
            .to_owned()
    };
    assert_eq!(host.current().unwrap(), generation.toplevel);
    let greeting = sh("curl -sS --max-time 5 http://127.0.0.1:7000/");
    assert_eq!(greeting, format!("generation {name}"));
    assert_eq!(sh("cat /run/note-a.b"), *name);
    assert_eq!(sh("cat /run/lab/generation"), *name);
    let beat = format!(
        "for i in $(seq 100); do grep -qx {name} /var/lib/beat/last && exit; sleep 0.2; done; exit 1"
    );
    sh(&beat);
    assert!(sh("cat /etc/os-release").contains(&format!("lab-{name}")));
    let etc = sh("readlink -f /etc/systemd/system");
    assert!(
        generation.closure.iter().any(|path| path.path == etc),
        "{etc}"
    );
    assert_eq!(
        sh("systemctl list-units --state=failed --plain --no-legend"),
        ""
    );
}

fn say_sizes(old: &Generation, new: &Generation) {
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let both = old.size() + new.size_beside(old);
    println!(
        "old: {} paths, {:.1} MiB",
        old.closure.len(),
        mib(old.size())
    );
    println!(
        "new: {} paths, {:.1} MiB",
        new.closure.len(),
        mib(new.size())
    );
    let shared = new.size() - new.size_beside(old);
    println!("shared: {:.2} MiB; both: {:.1} MiB", mib(shared), mib(both));
    println!("both / new: {:.2}", both as f64 / new.size() as f64);
}

#[test]
fn the_new_generation_takes_over_from_the_old_one() {
    if !require_disks() {
        return;
    }
    let old = generation(&Spec::old()).unwrap();
    let new = generation(&Spec::new()).unwrap();
    say_sizes(&old, &new);
    assert!(
        new.size_beside(&old) * 10 > new.size() * 9,
        "nearly all of it is different"
    );

    let mut host = machine(&old, 1200).unwrap();
    let before = answers(&host, &old);
    check_system(&host, &old);
    println!(
        "with the old one on it, /nix is {:?}",
        host.space().unwrap()
    );
    let sh = |host: &Host, script: &str| {
        let path = "PATH=/run/current-system/sw/bin:$PATH; ";
        let output = host.machine.sh(&format!("{path}{script}")).unwrap();
        output.ok().unwrap().text().to_owned()
    };
    let psql = "psql --host=127.0.0.1 --username=postgres -Atc";
    sh(&host, "redis-cli SET kept 'by redis'");
    sh(
        &host,
        &format!("{psql} \"CREATE TABLE kept AS SELECT 'by postgres' AS what\""),
    );
    sh(
        &host,
        "mkdir -p -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519 && \
         cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys",
    );

    let server = host.machine.serve(8090).unwrap();
    server.put_folder("/cache", &new.signed_cache);
    let cache = format!("{}/cache", server.url());
    let copy = host
        .nix(&["nix", "copy", "--from", &cache, &new.toplevel])
        .run()
        .unwrap();
    println!("fetched in {:?}", copy.ok().unwrap().took);
    println!("with both on it, /nix is {:?}", host.space().unwrap());
    let set = [
        "nix-env",
        "--profile",
        SYSTEM_PROFILE,
        "--set",
        &new.toplevel,
    ];
    host.nix(&set).run().unwrap().ok().unwrap();

    let dry = host.switch(&new, "dry-activate").unwrap().ok().unwrap();
    println!("{}", dry.stdout);
    let switched = host.switch(&new, "switch").unwrap();
    println!("{switched:?}");
    assert!(switched.success(), "{}", host.machine.log());

    let after = |host: &Host| {
        let after = answers(host, &new);
        check_system(host, &new);
        for ((service, old), (_, new)) in before.iter().zip(&after) {
            let same = [Service::Postgresql, Service::Haproxy].contains(service);
            assert!(same || old != new, "{} still says {old}", service.unit());
        }
        assert_eq!(sh(host, "redis-cli GET kept"), "by redis");
        assert_eq!(
            sh(host, &format!("{psql} 'SELECT what FROM kept'")),
            "by postgres"
        );
        let there = "ssh -o BatchMode=yes root@127.0.0.1 readlink /run/current-system";
        assert_eq!(sh(host, there), new.toplevel);
    };
    after(&host);
    let record = sh(&host, "cat /boot/loader/record");
    assert_eq!(record, format!("switch {}", new.toplevel));
    let verified = host
        .nix(&["nix-store", "--verify", "--check-contents"])
        .run()
        .unwrap();
    assert!(
        verified.success() && !verified.stderr.contains("error"),
        "{verified:?}"
    );

    host.machine.reboot().unwrap();
    after(&host);
    assert_eq!(sh(&host, "readlink -f /run/booted-system"), new.toplevel);
}

/// Switches to a variation of the new generation that is copied in from its cache.
fn switch_to(host: &Host, spec: &Spec, verb: &str) -> nixctl_lab::Output {
    let one = generation(spec).unwrap();
    let server = host.machine.serve(8090).unwrap();
    server.put_folder("/cache", &one.signed_cache);
    let cache = format!("{}/cache", server.url());
    let copy = ["nix", "copy", "--from", &cache, &one.toplevel];
    host.nix(&copy).run().unwrap().ok().unwrap();
    let output = host.switch(&one, verb).unwrap();
    println!("{}: {output:?}", spec.name);
    output
}

#[test]
fn small_changes_have_their_exit_codes() {
    if !require_disks() {
        return;
    }
    let few = |name: &str| Spec::new().only(name, &[Service::Redis, Service::Memcached]);
    let host = machine(&generation(&few("few")).unwrap(), 400).unwrap();
    let run = |spec: Spec| switch_to(&host, &spec, "switch");

    let one = run(few("few").tweaked(Tweak::OneUnit));
    assert_eq!(one.status, 0);
    let lines: Vec<&str> = one.stdout.lines().collect();
    let expected = [
        "stopping the following units: memcached.service",
        "activating the configuration...",
        "starting the following units: memcached.service",
    ];
    assert_eq!(lines, expected);

    let trivial = |changed| Tweak::TrivialUnits {
        count: 300,
        changed,
    };
    assert_eq!(run(few("few").tweaked(trivial(0))).status, 0);
    let again = run(few("few").tweaked(trivial(2)));
    let stopped = "stopping the following units: trivial-000.service, trivial-001.service";
    assert_eq!(
        (again.status, again.stdout.lines().next()),
        (0, Some(stopped))
    );
    println!("300 units, 2 of them changed: {:?}", again.took);

    let failing = run(few("few").tweaked(Tweak::ActivationFails));
    assert_eq!(failing.status, 2);
    let said = "Activation script snippet 'broken' failed (3)";
    assert!(failing.stdout.contains(said));
    let elsewhere = run(few("few").tweaked(Tweak::RedisElsewhere));
    assert_eq!(elsewhere.status, 0);
    assert!(Service::Redis.ask(&host.machine).is_err());
    let broken = run(few("few").tweaked(Tweak::RedisBroken));
    assert_eq!(broken.status, 4);
    assert!(
        broken
            .stdout
            .contains("warning: the following units failed: redis.service")
    );
    assert_eq!(run(few("few").tweaked(Tweak::InitInterface)).status, 100);
    let inhibited = few("few").tweaked(Tweak::Inhibitor);
    let refused = run(inhibited.clone());
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.contains("Pre-switch checks failed"));
    assert_eq!(switch_to(&host, &inhibited, "boot").status, 0);
    let lock = "flock /run/nixos/switch-to-configuration.lock sleep 60";
    let held = host.machine.spawn(&["sh", "-c", lock]).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(run(few("few")).status, 11);
    drop(held);
    let cut_off = run(few("few").tweaked(Tweak::NetworkDown));
    assert_eq!(cut_off.status, 0);
    assert!(Service::Memcached.ask(&host.machine).is_err());
}
