//! `org.freedesktop.LogControl1`, as `systemctl service-log-level nixctld` uses it.

use zbus::message::Header;
use zbus::{Connection, fdo, interface};

use super::caller;
use crate::logging::{Level, LogControl};

/// The log control object.
#[derive(Debug)]
pub struct LogControl1 {
    log: LogControl,
}

impl LogControl1 {
    /// Controls this log.
    pub fn new(log: LogControl) -> Self {
        LogControl1 { log }
    }
}

#[interface(name = "org.freedesktop.LogControl1", introspection_docs = false)]
impl LogControl1 {
    #[zbus(property)]
    async fn log_level(&self) -> &'static str {
        self.log.level().as_syslog()
    }

    #[zbus(property)]
    async fn set_log_level(
        &self,
        level: String,
        #[zbus(header)] header: Option<Header<'_>>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        let denied = || fdo::Error::AccessDenied("only root may change the log level".to_owned());
        let header = header.ok_or_else(denied)?;
        match caller(connection, &header).await {
            Ok(caller) if caller.uid == 0 => {}
            Ok(_) | Err(_) => return Err(denied()),
        }
        let level = Level::from_syslog(&level).ok_or_else(|| {
            fdo::Error::InvalidArgs(format!("`{level}` is not the name of a log level"))
        })?;
        self.log.set_level(level);
        tracing::info!("log level is {} now", level.as_syslog());
        Ok(())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn log_target(&self) -> &'static str {
        self.log.target()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn syslog_identifier(&self) -> &'static str {
        crate::logging::IDENTIFIER
    }
}
