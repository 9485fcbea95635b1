//! `nixctl config`

use nixctl_proto::health::check::Check;
use nixctl_proto::settings::{SettingView, policy_of};
use nixctl_proto::{Code, Exit, Failure};

use super::nearest::nearest;
use super::{Context, Outcome};
use crate::cli::ConfigVerb;
use crate::render::table;
use crate::render::text::clean;

/// The setting with the policies of the checks.
const POLICY: &str = "health.policy";

/// Shows or changes the settings.
pub async fn run(context: &mut Context, verb: Option<ConfigVerb>) -> Outcome {
    match verb {
        None | Some(ConfigVerb::Show) => show(context).await,
        Some(ConfigVerb::Get { key }) => get(context, &key).await,
        Some(ConfigVerb::Set { key, value }) => set(context, &key, &value).await,
    }
}

async fn show(context: &mut Context) -> Outcome {
    let settings = all(context).await?;
    if context.json {
        context.terminal.json(&settings);
    } else {
        context.terminal.lines(lines(&settings));
    }
    Ok(Exit::Done)
}

async fn get(context: &mut Context, key: &str) -> Outcome {
    let settings = all(context).await?;
    let setting = match key.strip_prefix(POLICY).and_then(|id| id.strip_prefix('.')) {
        Some(id) => policy(find(&settings, POLICY)?, key, id)?,
        None => find(&settings, key)?.clone(),
    };
    if context.json {
        context.terminal.json(&setting);
    } else {
        context.terminal.line(&clean(&setting.value));
    }
    Ok(Exit::Done)
}

async fn set(context: &mut Context, key: &str, value: &str) -> Outcome {
    let value = toml_value(value);
    context
        .connected(async |_, connection| Ok(connection.configure(key, &value).await?))
        .await?;
    context.remark(&format!("{key} = {value}"));
    Ok(Exit::Done)
}

async fn all(context: &mut Context) -> Result<Vec<SettingView>, Failure> {
    context
        .connected(async |_, connection| Ok(connection.settings().await?))
        .await
}

/// What is done about one check, as a setting of its own.
fn policy(all: &SettingView, key: &str, id: &str) -> Result<SettingView, Failure> {
    let Some(check) = Check::by_id(id) else {
        let help = match Check::nearest(id) {
            Some(near) => format!("did you mean {POLICY}.{near}? `nixctl check --list` lists all"),
            None => "`nixctl check --list` lists all checks".to_owned(),
        };
        let message = format!("cannot show `{key}`: there is no such check");
        return Err(Failure::new(Code::NotFound, message).with_help(help));
    };
    let set = policy_of(check, &all.value);
    Ok(SettingView {
        key: key.to_owned(),
        value: format!("\"{}\"", set.unwrap_or(check.policy())),
        file: set.map(|_| all.file.clone()).unwrap_or_default(),
    })
}

fn find<'a>(settings: &'a [SettingView], key: &str) -> Result<&'a SettingView, Failure> {
    settings
        .iter()
        .find(|setting| setting.key == key)
        .ok_or_else(|| {
            let help = match nearest(key, settings.iter().map(|setting| setting.key.as_str())) {
                Some(near) => format!("did you mean {near}? `nixctl config show` lists all"),
                None => "`nixctl config show` lists all settings".to_owned(),
            };
            let message = format!("cannot show `{key}`: there is no such setting");
            Failure::new(Code::NotFound, message).with_help(help)
        })
}

fn lines(settings: &[SettingView]) -> Vec<String> {
    let rows: Vec<Vec<String>> = settings
        .iter()
        .map(|setting| {
            let file = if setting.file.is_empty() {
                "(default)"
            } else {
                setting.file.as_str()
            };
            vec![clean(&setting.key), clean(&setting.value), clean(file)]
        })
        .collect();
    table::lines(&["SETTING", "VALUE", "FROM"], &rows, None)
}

/// The value as TOML spells it: what is no number, truth value, list or string becomes a string,
/// so that nobody has to quote twice on a shell.
fn toml_value(value: &str) -> String {
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    let number = !digits.is_empty()
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'_')
        && digits.starts_with(|c: char| c.is_ascii_digit());
    let spelled = matches!(value.chars().next(), Some('"' | '\'' | '[' | '{'));
    if number || spelled || value == "true" || value == "false" {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04X}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Vec<SettingView> {
        let setting = |key: &str, value: &str, file: &str| SettingView {
            key: key.to_owned(),
            value: value.to_owned(),
            file: file.to_owned(),
        };
        vec![
            setting("install.version", "\"2.34.8\"", ""),
            setting("daemon.history", "10", "/etc/nixctl/config.toml"),
        ]
    }

    #[test]
    fn settings_are_a_table() {
        assert_eq!(
            lines(&settings()),
            [
                "SETTING          VALUE     FROM",
                "install.version  \"2.34.8\"  (default)",
                "daemon.history   10        /etc/nixctl/config.toml",
            ]
        );
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        assert_eq!(find(&settings(), "daemon.history").unwrap().value, "10");
        let failure = find(&settings(), "install.versoin").unwrap_err();
        assert!(failure.help.contains("install.version"), "{}", failure.help);
        assert_eq!(failure.code.exit(), Exit::Usage);
    }

    #[test]
    fn a_policy_is_the_checks_own_or_the_default() {
        let all = SettingView {
            key: POLICY.to_owned(),
            value: "{ \"tree.rights\" = \"off\" }".to_owned(),
            file: "/x".to_owned(),
        };
        for (id, value, file) in [
            ("tree.rights", "\"off\"", "/x"),
            ("conf.syntax", "\"ask\"", ""),
        ] {
            let one = policy(&all, "k", id).unwrap();
            assert_eq!((one.value.as_str(), one.file.as_str()), (value, file));
        }
        let failure = policy(&all, "k", "tree.right").unwrap_err();
        assert!(failure.help.contains("health.policy.tree.rights"));
        assert_eq!(failure.code.exit(), Exit::Usage);
    }

    #[test]
    fn values_are_spelled_for_toml() {
        for (value, expected) in [
            ("10", "10"),
            ("-1_000", "-1_000"),
            ("true", "true"),
            ("2.26.3", "\"2.26.3\""),
            ("", "\"\""),
            ("a\"b\\c\n", "\"a\\\"b\\\\c\\u000A\""),
            ("\"done\"", "\"done\""),
            ("[\"a\"]", "[\"a\"]"),
            ("https://x/", "\"https://x/\""),
        ] {
            assert_eq!(toml_value(value), expected);
        }
    }
}
