//! The verbs about generations of the system, and the sizes they take.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use nixctl_proto::OperationId;

use super::{Going, Strategy};

/// What to switch to, and how.
#[derive(Debug, Clone, Default, Args)]
pub struct SwitchWhat {
    /// The system's toplevel: a store path, or a link to one such as ./result
    #[arg(value_name = "TOPLEVEL", value_hint = ValueHint::AnyPath)]
    pub toplevel: String,
    /// Store to copy from; without it Nix's own substituters
    #[arg(long, value_name = "STORE-URL", value_hint = ValueHint::Url)]
    pub from: Option<String>,
    /// At once, or in steps on a disk where both generations do not fit
    #[arg(long, value_name = "STRATEGY", default_value = "auto")]
    pub strategy: Strategy,
    /// Most that the store may take while switching, such as 500M or 2GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub budget: Option<u64>,
    /// Old generations may be dropped to gain space
    #[arg(long)]
    pub drop_old: bool,
    /// Services that the settings name as not vital may be down for a while to gain space
    #[arg(long)]
    pub allow_downtime: bool,
    /// Watch the result for so long before it counts
    #[arg(long, value_name = "SECONDS")]
    pub soak: Option<u64>,
    /// Go back unless `nixctl confirm` comes in time over a new connection
    #[arg(long, value_name = "SECONDS")]
    pub confirm_within: Option<u64>,
}

/// Which generation to go back to.
#[derive(Debug, Clone, Default, Args)]
pub struct RollbackWhat {
    /// Number of the generation; without it the one before the last switch
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(u64).range(1..))]
    pub to: Option<u64>,
    /// Store to copy from what is not here any more; without it the one that the switch named
    #[arg(long, value_name = "STORE-URL", value_hint = ValueHint::Url)]
    pub from: Option<String>,
}

/// Where the disk use is drawn.
#[derive(Debug, Clone, Default, Args)]
pub struct Picture {
    /// Draw the disk use of each step into this file
    #[arg(long = "svg", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

/// `nixctl switch`
#[derive(Debug, Args)]
pub struct Switch {
    /// What to switch to.
    #[command(flatten)]
    pub what: SwitchWhat,
    /// Where it is drawn.
    #[command(flatten)]
    pub picture: Picture,
    /// How.
    #[command(flatten)]
    pub going: Going,
}

/// `nixctl rollback`
#[derive(Debug, Args)]
pub struct Rollback {
    /// What to go back to.
    #[command(flatten)]
    pub what: RollbackWhat,
    /// Where it is drawn.
    #[command(flatten)]
    pub picture: Picture,
    /// How.
    #[command(flatten)]
    pub going: Going,
}

/// `nixctl plan switch`
#[derive(Debug, Args)]
pub struct PlanSwitch {
    /// What to switch to.
    #[command(flatten)]
    pub what: SwitchWhat,
    /// Where it is drawn.
    #[command(flatten)]
    pub picture: Picture,
}

/// `nixctl plan rollback`
#[derive(Debug, Args)]
pub struct PlanRollback {
    /// What to go back to.
    #[command(flatten)]
    pub what: RollbackWhat,
    /// Where it is drawn.
    #[command(flatten)]
    pub picture: Picture,
}

/// `nixctl confirm`
#[derive(Debug, Args)]
pub struct Confirm {
    /// Id of the operation; without it the one that runs
    #[arg(value_name = "OP")]
    pub operation: Option<OperationId>,
}

/// `nixctl diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// A generation's number, a store path, or a link to one
    #[arg(value_name = "A", value_hint = ValueHint::AnyPath)]
    pub from: String,
    /// What it is compared with
    #[arg(value_name = "B", value_hint = ValueHint::AnyPath)]
    pub to: String,
}

/// Units of sizes: a letter alone and with `iB` counts in 1024, with `B` in 1000.
const UNITS: &str = "kmgtp";
/// Most digits after the point: enough for a byte of a petabyte and no overflow.
const DECIMALS: usize = 15;

/// A number of bytes: `4096`, `500M`, `2GiB`, `1.5 GB`.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || "a size looks like 500M, 2GiB or 1.5GB".to_owned();
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = factor(unit.trim_start()).ok_or_else(wrong)?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || decimals.is_empty() || decimals.len() > DECIMALS {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u128 = decimals.parse().map_err(|_| wrong())?;
    let scale = 10u128.pow(decimals.len() as u32);
    let bytes = u128::from(whole) * factor + part * factor / scale;
    u64::try_from(bytes).map_err(|_| "it is larger than any disk".to_owned())
}

/// How many bytes a unit is.
fn factor(unit: &str) -> Option<u128> {
    let unit = unit.to_ascii_lowercase();
    if matches!(unit.as_str(), "" | "b") {
        return Some(1);
    }
    let letter = unit.chars().next()?;
    let power = u32::try_from(UNITS.find(letter)?).ok()? + 1;
    match &unit[letter.len_utf8()..] {
        "" | "ib" => Some(1024u128.pow(power)),
        "b" => Some(1000u128.pow(power)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("500M", 500 << 20),
            ("500m", 500 << 20),
            ("2GiB", 2 << 30),
            ("2 gib", 2 << 30),
            ("2GB", 2_000_000_000),
            ("1.5G", 3 << 29),
            ("0.001kB", 1),
            ("1k", 1024),
            ("3T", 3 << 40),
            ("16383P", 16383 << 50),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "M",
            "x",
            "-1",
            "1.G",
            ".5G",
            "1.2.3",
            "5X",
            "5Mi",
            "5MB/s",
            "1e9",
            "16384P",
            "99999999999999999999",
            "ä",
            "1\u{e4}",
            "1.0000000000000000G",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_of_bytes_is_itself(bytes: u64, text in "[0-9a-zA-Z. ]{0,12}") {
            prop_assert_eq!(size(&bytes.to_string()), Ok(bytes));
            let _ = size(&text);
        }
    }
}
