//! Many trials of one kind, one after the other: told as they come, all that was wrong at the end.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::progress;

/// How many of each campaign are tried when not all are.
const SAMPLE: u64 = 3;
/// The variable that says how many are tried of each campaign, whatever else is asked for.
const TRIALS: &str = "NIXCTL_LAB_TRIALS";
/// After so many trials in a row that could not be carried out at all, it is the lab that is broken.
const BROKEN_IN_A_ROW: u32 = 3;

/// What became of one trial.
#[derive(Debug)]
pub struct Verdict {
    /// How it ended, for the line that tells of it.
    pub words: String,
    /// All that was wrong afterwards.
    pub problems: Vec<String>,
}

/// Carries out a trial for each number, which is a `unit`. An error names every one after which
/// something was wrong.
pub fn run(
    name: &str,
    unit: &str,
    numbers: &[u64],
    mut trial: impl FnMut(u64) -> Result<Verdict>,
) -> Result<()> {
    let whole = Instant::now();
    progress::tell(&format!("{name}: trying {}: {numbers:?}", numbers.len()));
    let mut failed = Vec::new();
    let mut broken = 0;
    for (index, number) in numbers.iter().enumerate() {
        let began = Instant::now();
        let (words, problems) = match trial(*number) {
            Ok(verdict) => {
                broken = 0;
                (verdict.words, verdict.problems)
            }
            Err(error) => {
                broken += 1;
                ("not carried out".to_owned(), vec![error.to_string()])
            }
        };
        progress::tell(&format!(
            "{name}: {unit} {number} ({} of {}): {words} ({:.1} s){}",
            index + 1,
            numbers.len(),
            began.elapsed().as_secs_f32(),
            if problems.is_empty() { "" } else { ": WRONG" }
        ));
        if !problems.is_empty() {
            println!("{}", problems.join("\n"));
            failed.push(format!("{unit} {number}: {}", problems.join("\n  ")));
        }
        if broken == BROKEN_IN_A_ROW {
            failed.push(format!("given up: {broken} trials in a row failed to run"));
            break;
        }
    }
    for one in &failed {
        let first = one.lines().take(2).collect::<Vec<_>>().join(" ");
        progress::fail(&format!("{name}: {first}"));
    }
    progress::tell(&format!(
        "{name}: {} trials, {} wrong, {:.0} s",
        numbers.len(),
        failed.len(),
        whole.elapsed().as_secs_f32()
    ));
    verdict(name, &failed)
}

/// All that was wrong, in the order in which it came.
fn verdict(name: &str, failed: &[String]) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!("pass {name}"), failed.join("\n")))
}

/// All numbers of a range, or a few: one out of each part.
pub fn choose(first: u64, last: u64) -> Vec<u64> {
    let count = last.saturating_sub(first) + 1;
    if let Some(parts) = number(TRIALS) {
        return spread(first, last, parts);
    }
    if crate::full() || count <= SAMPLE {
        return (first..=last).collect();
    }
    spread(first, last, SAMPLE)
}

/// Numbers of a range at random, one out of each of so many parts of it; the seed is printed.
pub fn spread(first: u64, last: u64, parts: u64) -> Vec<u64> {
    let parts = number(TRIALS).unwrap_or(parts);
    let count = last.saturating_sub(first) + 1;
    let seed = seed();
    println!("seed {seed} (NIXCTL_LAB_SEED={seed} repeats it)");
    (0..parts)
        .map(|part| {
            let (from, to) = (count * part / parts, count * (part + 1) / parts);
            // Another number of each part every day.
            let mixed = (seed ^ (part << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            first + from + mixed % (to - from).max(1)
        })
        .collect()
}

/// The value of a variable that is a number.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The number of the day, or what `NIXCTL_LAB_SEED` says.
fn seed() -> u64 {
    number("NIXCTL_LAB_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |time| time.as_secs() / 86400)
    })
}

#[cfg(test)]
mod tests {
    use super::{choose, run, spread, verdict};
    use crate::error::Error;

    #[test]
    fn a_sample_has_one_number_of_each_part() {
        if crate::full() {
            return;
        }
        let chosen = choose(2, 61);
        assert_eq!(chosen.len(), 3);
        for (commit, part) in chosen.iter().zip([2..22, 22..42, 42..62]) {
            assert!(part.contains(commit), "{chosen:?}");
        }
        assert_eq!(choose(2, 3), [2, 3]);
        let many = spread(0, 9999, 100);
        let parts = many.iter().zip(0..).all(|(it, part)| it / 100 == part);
        assert!(many.len() == 100 && parts, "{many:?}");
    }

    #[test]
    fn everything_that_was_wrong_is_in_the_verdict() {
        assert!(verdict("a campaign", &[]).is_ok());
        let failed = ["commit 3: + /nix", "commit 9: not carried out"].map(str::to_owned);
        let text = verdict("a campaign", &failed).unwrap_err().to_string();
        assert!(failed.iter().all(|one| text.contains(one)), "{text}");
    }

    #[test]
    fn a_broken_lab_is_given_up() {
        let mut tried = Vec::new();
        let error = run("a campaign", "commit", &[1, 2, 3, 4], |number| {
            tried.push(number);
            Err(Error::new("boot", "no reason"))
        });
        assert!(error.unwrap_err().to_string().contains("given up"));
        assert_eq!(tried, [1, 2, 3]);
    }
}
