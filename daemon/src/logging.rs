//! Logs: to the journal where stderr is the journal, else to stderr without colours.
//!
//! In the journal, what a line is about is in fields: tracing fields called `OPERATION_ID` and
//! `STEP`, of events or of the spans around them, arrive under exactly these names, so that
//! `journalctl OPERATION_ID=...` finds them. Other crates are heard from warnings on.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, reload};

/// Name of the daemon in the log.
pub const IDENTIFIER: &str = "nixctld";

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Failures only.
    Error,
    /// And what may become one.
    Warn,
    /// And what was done for whom.
    #[default]
    Info,
    /// And how.
    Debug,
    /// And everything else.
    Trace,
}

impl Level {
    /// The level that a setting names.
    pub fn from_setting(name: &str) -> Option<Level> {
        Some(match name {
            "error" => Level::Error,
            "warn" => Level::Warn,
            "info" => Level::Info,
            "debug" => Level::Debug,
            "trace" => Level::Trace,
            _ => return None,
        })
    }

    /// The level that syslog's name stands for; syslog has finer ones at the top.
    pub fn from_syslog(name: &str) -> Option<Level> {
        Some(match name {
            "emerg" | "alert" | "crit" | "err" => Level::Error,
            "warning" => Level::Warn,
            "notice" | "info" => Level::Info,
            "debug" => Level::Debug,
            "trace" => Level::Trace,
            _ => return None,
        })
    }

    /// Syslog's name of the level.
    pub fn as_syslog(self) -> &'static str {
        match self {
            Level::Error => "err",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        }
    }

    fn filter(self) -> Targets {
        let own = match self {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        };
        let others = own.min(LevelFilter::WARN);
        Targets::new()
            .with_default(others)
            .with_target("nixctld", own)
    }
}

/// Changes what is logged while the daemon runs.
#[derive(Debug, Clone)]
pub struct LogControl {
    level: Arc<Mutex<Level>>,
    filter: Option<reload::Handle<Targets, Registry>>,
    target: &'static str,
}

impl LogControl {
    /// A control without a log behind it.
    pub fn detached() -> Self {
        LogControl {
            level: Arc::default(),
            filter: None,
            target: "null",
        }
    }

    /// What is logged now.
    pub fn level(&self) -> Level {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs from this level on.
    pub fn set_level(&self, level: Level) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
        if let Some(Err(error)) = self.filter.as_ref().map(|f| f.reload(level.filter())) {
            tracing::error!("cannot change the log level: {error}");
        }
    }

    /// Where it goes, in the words of `LogControl1`: journal, console or null.
    pub fn target(&self) -> &'static str {
        self.target
    }
}

/// Starts logging.
///
/// # Errors
/// Something logs already in this process.
pub fn start(level: Level) -> Result<LogControl, TryInitError> {
    let (filter, handle) = reload::Layer::new(level.filter());
    let registry = Registry::default().with(filter);
    let journal = if stderr_is_journal() {
        journal_layer()
    } else {
        None
    };
    let target = match journal {
        Some(journal) => {
            registry.with(journal).try_init()?;
            "journal"
        }
        None => {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .with_target(false);
            registry.with(lines).try_init()?;
            "console"
        }
    };
    Ok(LogControl {
        level: Arc::new(Mutex::new(level)),
        filter: Some(handle),
        target,
    })
}

fn journal_layer() -> Option<tracing_journald::Layer> {
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::layer().ok()?;
    Some(
        layer
            .with_field_prefix(None)
            .with_syslog_identifier(IDENTIFIER.to_owned())
            .with_priority_mappings(priorities),
    )
}

/// Whether systemd connected stderr to its journal, by device and inode as sd_journal(3) says.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = std::io::stderr().as_fd().try_clone_to_owned();
    match stderr.and_then(|stderr| File::from(stderr).metadata()) {
        Ok(meta) => is_stream(&stream, meta.dev(), meta.ino()),
        Err(_) => false,
    }
}

fn is_stream(variable: &str, device: u64, inode: u64) -> bool {
    variable
        .split_once(':')
        .is_some_and(|(a, b)| a.parse::<u64>() == Ok(device) && b.parse::<u64>() == Ok(inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_their_names() {
        for name in ["error", "warn", "info", "debug", "trace"] {
            assert!(Level::from_setting(name).is_some());
        }
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug] {
            assert_eq!(Level::from_syslog(level.as_syslog()), Some(level));
        }
        assert_eq!(Level::from_syslog("loud"), None);
        assert_eq!(Level::from_setting("loud"), None);
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(is_stream("8:42", 8, 42));
        for other in ["", "8", "8:43", "9:42", "8:42:1", "a:b"] {
            assert!(!is_stream(other, 8, 42), "{other}");
        }
    }

    #[test]
    fn other_crates_are_heard_from_warnings_on() {
        let filter = Level::Debug.filter();
        assert!(filter.would_enable("nixctld::serve", &tracing::Level::DEBUG));
        assert!(!filter.would_enable("zbus::connection", &tracing::Level::INFO));
        assert!(filter.would_enable("zbus::connection", &tracing::Level::WARN));
        assert!(
            !Level::Error
                .filter()
                .would_enable("zbus", &tracing::Level::WARN)
        );
    }
}
