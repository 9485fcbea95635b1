//! The daemon as a service: from its start until it is ready, its memory when nothing happens, and
//! the time of `nixctl status` beside what `busctl` needs to ask systemd.

use std::time::Duration;

use nixctl_lab::Result;
use nixctl_lab::error::{Context, Error};
use nixctl_lab::world::World;

use super::table::{Series, Table};

/// How long the daemon is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(10);
/// Runs of each command for a client's time.
const CALLS: usize = 50;
/// Runs commands in turns and prints the time of each in milliseconds, one column a command.
const TURNS: &str = r#"
import subprocess, sys, time
calls = int(sys.argv[1])
commands = [line.split() for line in sys.argv[2:]]
for turn in range(calls + 2):
    times = []
    for command in commands:
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - began) * 1000)
    if turn >= 2:
        print(*times)
"#;
const COMMANDS: [(&str, &str); 4] = [
    ("nixctl status", "nixctl status"),
    (
        "busctl, all properties of systemd",
        "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
         org.freedesktop.DBus.Properties GetAll s org.freedesktop.systemd1.Manager",
    ),
    (
        "busctl, one property of systemd",
        "busctl get-property org.freedesktop.systemd1 /org/freedesktop/systemd1 \
         org.freedesktop.systemd1.Manager Version",
    ),
    (
        "nixctl status over the socket",
        "nixctl --socket /run/nixctl/socket status",
    ),
];

/// Measures on one machine with Nix installed.
pub fn measure(table: &mut Table, runs: usize) -> Result<()> {
    let world = World::boot_installed("bench-service")?;
    let starts: Result<Vec<f64>> = (0..runs * 4).map(|_| start(&world)).collect();
    table.series_goal("daemon start until ready", &Series::from(starts?), 50.0);

    std::thread::sleep(IDLE);
    let (all, own) = memory(&world)?;
    table.goal("resident memory at idle after a start", all, "MiB", 10.0);
    table.row("  of that anonymous", &format!("{own:.2} MiB"), "", "");
    // What an install leaves behind in it is the memory that counts.
    world.uninstall()?.ok()?;
    world.install()?.ok()?;
    std::thread::sleep(IDLE);
    let (all, own) = memory(&world)?;
    table.goal("resident memory at idle after an install", all, "MiB", 10.0);
    table.row("  of that anonymous", &format!("{own:.2} MiB"), "", "");

    let columns = clients(&world)?;
    let medians: Vec<f64> = columns.iter().map(Series::median).collect();
    for ((name, _), series) in COMMANDS.iter().zip(&columns) {
        table.series(name, series);
    }
    if let [status, all, one, _] = medians[..] {
        table.goal("status / busctl, all properties", status / all, "x", 2.0);
        table.row(
            "status / busctl, one property",
            &format!("{:.2} x", status / one),
            "",
            "",
        );
    }
    Ok(())
}

/// Milliseconds from the start of the process until systemd called the unit active.
fn start(world: &World) -> Result<f64> {
    world
        .machine
        .exec(&["systemctl", "reset-failed", "nixctld"])?;
    world
        .machine
        .exec(&["systemctl", "restart", "nixctld"])?
        .ok()?;
    let stamp = |property: &str| -> Result<f64> {
        let argv = [
            "systemctl",
            "show",
            "--value",
            "--property",
            property,
            "nixctld",
        ];
        let text = world.machine.exec(&argv)?.ok()?.text().to_owned();
        text.parse().context(|| format!("read {property}"))
    };
    let begun = stamp("ExecMainStartTimestampMonotonic")?;
    Ok((stamp("ActiveEnterTimestampMonotonic")? - begun) / 1000.0)
}

/// Resident and anonymous memory of the daemon, in MiB.
fn memory(world: &World) -> Result<(f64, f64)> {
    let pid = world.daemon_pid()?;
    let status = world.machine.read_text(&format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        number
            .map(|kib| kib / 1024.0)
            .ok_or_else(|| Error::new(format!("read {name}"), &status))
    };
    Ok((field("VmRSS:")?, field("RssAnon:")?))
}

/// The times of the commands, each a series.
fn clients(world: &World) -> Result<Vec<Series>> {
    world
        .machine
        .write_file("/var/tmp/turns.py", TURNS, 0o644)?;
    let calls = CALLS.to_string();
    let mut argv = vec!["python3", "/var/tmp/turns.py", &calls];
    argv.extend(COMMANDS.iter().map(|(_, command)| *command));
    let output = world.machine.exec(&argv)?.ok()?;
    let mut columns = vec![Vec::new(); COMMANDS.len()];
    for line in output.stdout.lines() {
        for (column, number) in columns.iter_mut().zip(line.split_whitespace()) {
            column.push(number.parse::<f64>().context(|| format!("read {number}"))?);
        }
    }
    Ok(columns.into_iter().map(Series::from).collect())
}
