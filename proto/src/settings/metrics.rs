//! `[metrics]`: where a monitoring system finds the numbers.

use serde::{Deserialize, Serialize};

/// The ending that the node_exporter wants.
const ENDING: &str = ".prom";

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// File in the folder of the node_exporter's textfile collector; empty: none is written.
    pub textfile: String,
}

impl MetricsSettings {
    /// Whether its values make sense.
    ///
    /// # Errors
    /// What is wrong with the value of that name.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        let is_file = |text: &str| {
            let mut parts = text.split('/').skip(1);
            let file = text.rsplit('/').next().unwrap_or_default();
            text.starts_with('/')
                && file.len() > ENDING.len()
                && file.ends_with(ENDING)
                && !text.contains(char::is_control)
                && parts.all(|part| !["", ".", ".."].contains(&part))
        };
        match name {
            "textfile" if !self.textfile.is_empty() && !is_file(&self.textfile) => Err(format!(
                "must be the absolute path of a file that ends in {ENDING}, or empty"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::merge;

    #[test]
    fn a_file_for_the_node_exporter_is_named() {
        for (path, is_right) in [
            ("", true),
            ("/var/lib/node_exporter/nixctl.prom", true),
            ("nixctl.prom", false),
            ("/var/lib/nixctl.txt", false),
            ("/var/lib/.prom", false),
            ("/var/lib/../nixctl.prom", false),
            ("/var//nixctl.prom", false),
        ] {
            let file = PathBuf::from("/etc/nixctl/config.toml");
            let text = format!("[metrics]\n\ntextfile = \"{path}\"\n");
            match merge(&[(file, text)]) {
                Ok((settings, _)) => {
                    assert!(is_right, "{path}");
                    assert_eq!(settings.metrics.textfile, path);
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(!is_right, "{error}");
                    assert!(error.contains("config.toml line 3: "), "{error}");
                    assert!(error.contains("ends in .prom"), "{error}");
                }
            }
        }
    }
}
