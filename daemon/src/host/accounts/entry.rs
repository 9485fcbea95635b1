//! Users and groups as lines of a file and as records of systemd's user database.

use serde::Deserialize;

use super::{GroupEntry, User};

/// What users and groups have in common.
pub(super) trait Entry: Sized {
    /// Local file.
    const FILE: &'static str;
    /// Word for `getent`.
    const DATABASE: &'static str;
    /// Word for `userdbctl`.
    const RECORD: &'static str;

    fn from_line(line: &str) -> Option<Self>;
    fn from_json(line: &str) -> Option<Self>;
    fn name(&self) -> &str;
    fn id(&self) -> u32;
}

impl Entry for User {
    const FILE: &'static str = "/etc/passwd";
    const DATABASE: &'static str = "passwd";
    const RECORD: &'static str = "user";

    fn from_line(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields.as_slice() else {
            return None;
        };
        Some(User {
            name: valid_name(name)?,
            uid: valid_id(uid)?,
            gid: valid_id(gid)?,
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
        })
    }

    fn from_json(line: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Record {
            user_name: String,
            uid: u32,
            gid: Option<u32>,
            #[serde(default)]
            home_directory: String,
            #[serde(default)]
            shell: String,
        }
        let record: Record = serde_json::from_str(line).ok()?;
        Some(User {
            name: valid_name(&record.user_name)?,
            uid: record.uid,
            // A record without a group means one with the same id.
            gid: record.gid.unwrap_or(record.uid),
            home: record.home_directory,
            shell: record.shell,
        })
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> u32 {
        self.uid
    }
}

impl Entry for GroupEntry {
    const FILE: &'static str = "/etc/group";
    const DATABASE: &'static str = "group";
    const RECORD: &'static str = "group";

    fn from_line(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields.as_slice() else {
            return None;
        };
        let members = members
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty());
        Some(GroupEntry {
            name: valid_name(name)?,
            gid: valid_id(gid)?,
            members: members.map(str::to_owned).collect(),
        })
    }

    fn from_json(line: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Record {
            group_name: String,
            gid: u32,
            #[serde(default)]
            members: Vec<String>,
        }
        let record: Record = serde_json::from_str(line).ok()?;
        Some(GroupEntry {
            name: valid_name(&record.group_name)?,
            gid: record.gid,
            members: record.members,
        })
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> u32 {
        self.gid
    }
}

/// Lines that begin with `+` or `-` are instructions for NIS, not entries.
pub(super) fn valid_name(name: &str) -> Option<String> {
    let odd = name.is_empty() || name.starts_with(['+', '-', '#']) || name.contains('\0');
    (!odd).then(|| name.to_owned())
}

/// The largest number means "no id" to the kernel.
fn valid_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&id| digits && id != u32::MAX)
}

/// The entries of a text, without the lines that are none.
pub(super) fn parse<E>(bytes: &[u8], from_line: impl Fn(&str) -> Option<E>) -> Vec<E> {
    String::from_utf8_lossy(bytes)
        .lines()
        .filter_map(from_line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_lines_are_passed_over() {
        let text: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
            +::::::\n-bad:x:1:1::/:/bin/sh\n:x:0:0::/:/bin/sh\n#comment:x:1:1::/:/bin/sh\n\
            short:x:1:1\nlong:x:1:1:a:b:c:d\nneg:x:-1:1::/:/bin/sh\nhex:x:0x10:1::/:/bin/sh\n\
            plus:x:+5:1::/:/bin/sh\nbig:x:4294967295:1::/:/bin/sh\nhuge:x:99999999999:1::/:/x\n\
            latin:x:7:8:M\xfcller:/home/l:/bin/sh\nalso root:x:0:0::/root:/bin/sh\n";
        let names: Vec<String> = parse(text, User::from_line)
            .into_iter()
            .map(|user| user.name)
            .collect();
        assert_eq!(names, ["root", "latin", "also root"]);
        let groups = parse(
            b"a:x:1:u, v,,w\nb:x:2\nc:x:y:\nd:x:3:\n",
            GroupEntry::from_line,
        );
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].members, ["u", "v", "w"]);
        assert!(groups[1].members.is_empty());
    }

    #[test]
    fn records_of_the_user_database_are_read() {
        let line = r#"{"userName":"lisa","uid":61001,"gid":61001,"homeDirectory":"/home/lisa","shell":"/bin/zsh","x":[1]}"#;
        let user = User::from_json(line).unwrap();
        assert_eq!((user.uid, user.shell.as_str()), (61001, "/bin/zsh"));
        assert!(User::from_json("{\"uid\":1}").is_none());
        assert!(User::from_json("not json").is_none());
        let group = GroupEntry::from_json(r#"{"groupName":"g","gid":5}"#).unwrap();
        assert!(group.members.is_empty());
    }
}
