//! What `nix path-info --json` says, in each of its formats: a list of objects (before 2.19), a map by
//! path (format 1), and a map by base name below `info` (format 2, from 2.33 on).
//!
//! The answer is parsed as it is read, entry by entry, into what the graph needs; hashes, signatures
//! and the rest never become values.

use std::fmt;

use nixctl_planner::closure::{BadStorePath, PathInfo, STORE_DIR, StorePath};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Newest format that is understood.
const NEWEST: u64 = 2;

/// A path with what is known of it; without when the store does not have it.
pub(in crate::switch) type Answer = (StorePath, Option<PathInfo>);

/// Parses an answer.
pub(in crate::switch) fn parse(json: &[u8]) -> Result<Vec<Answer>, serde_json::Error> {
    let mut answers = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Document(&mut answers).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(answers)
}

/// One path's object. What is missing in it makes the path one that the store does not have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    path: Option<String>,
    valid: Option<bool>,
    nar_size: Option<u64>,
    references: Option<Vec<String>>,
    download_size: Option<u64>,
}

impl Info {
    fn answer<E: de::Error>(self, path: StorePath) -> Result<Answer, E> {
        let (Some(nar_size), Some(references)) = (self.nar_size, self.references) else {
            return match self.valid {
                Some(false) => Ok((path, None)),
                _ => Err(E::custom(format!("{path} has no narSize or no references"))),
            };
        };
        let references = references
            .iter()
            .map(|reference| store_path(reference))
            .collect::<Result<_, _>>()
            .map_err(E::custom)?;
        let info = PathInfo {
            path: path.clone(),
            nar_size,
            references,
            download_size: self.download_size,
        };
        Ok((path, Some(info)))
    }
}

/// A whole path, or a base name as format 2 has it.
fn store_path(text: &str) -> Result<StorePath, BadStorePath> {
    if text.starts_with('/') {
        StorePath::new(text)
    } else {
        StorePath::from_base_name(text)
    }
}

/// The whole document in any format.
struct Document<'a>(&'a mut Vec<Answer>);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer of `nix path-info --json`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(mut info) = list.next_element::<Info>()? {
            let path = info.path.take().unwrap_or_default();
            let path = store_path(&path).map_err(de::Error::custom)?;
            self.0.push(info.answer(path)?);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "info" => map.next_value_seed(Infos(self.0))?,
                "version" => {
                    let version = map.next_value::<u64>()?;
                    if version > NEWEST {
                        let why = format!("its format {version} is newer than {NEWEST}");
                        return Err(de::Error::custom(why));
                    }
                }
                "storeDir" => {
                    let dir = map.next_value::<String>()?;
                    if dir != STORE_DIR {
                        return Err(de::Error::custom(format!("its store is {dir}")));
                    }
                }
                path if path.starts_with('/') => entry(path, &mut map, self.0)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The map below `info`.
struct Infos<'a>(&'a mut Vec<Answer>);

impl<'de> DeserializeSeed<'de> for Infos<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Infos<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map by path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            entry(&key, &mut map, self.0)?;
        }
        Ok(())
    }
}

fn entry<'de, A: MapAccess<'de>>(
    key: &str,
    map: &mut A,
    answers: &mut Vec<Answer>,
) -> Result<(), A::Error> {
    let path = store_path(key).map_err(de::Error::custom)?;
    answers.push(match map.next_value::<Option<Info>>()? {
        Some(info) => info.answer(path)?,
        None => (path, None),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0123456789abcdfghijklmnpqrsvwxyz-a";
    const B: &str = "1123456789abcdfghijklmnpqrsvwxyz-b";

    fn parsed(json: &str) -> Result<Vec<Answer>, serde_json::Error> {
        let json = json
            .replace("$A", &format!("{STORE_DIR}/{A}"))
            .replace("$B", &format!("{STORE_DIR}/{B}"))
            .replace("@A", A)
            .replace("@B", B);
        parse(json.as_bytes())
    }

    /// What Nix 2.18, 2.26.3 and 2.34.8 (both of its formats) print, shortened.
    #[test]
    fn every_format_says_the_same() {
        let expected = vec![
            (
                StorePath::from_base_name(A).unwrap(),
                Some(PathInfo {
                    path: StorePath::from_base_name(A).unwrap(),
                    nar_size: 42,
                    references: vec![StorePath::from_base_name(B).unwrap()],
                    download_size: None,
                }),
            ),
            (StorePath::from_base_name(B).unwrap(), None),
        ];
        for json in [
            r#"[{"path":"$A","narHash":"sha256:x","narSize":42,"references":["$B"]},
                {"path":"$B","valid":false}]"#,
            r#"{"$A":{"ca":null,"deriver":null,"narHash":"sha256-x=","narSize":42,
                "references":["$B"],"registrationTime":1,"signatures":[],"ultimate":false},
                "$B":null}"#,
            r#"{"$A":{"narSize":42,"references":["$B"],"storeDir":"/nix/store","version":1},
                "$B":null}"#,
            r#"{"info":{"@A":{"narSize":42,"references":["@B"],"storeDir":"/nix/store",
                "version":2},"@B":null},"storeDir":"/nix/store","version":2}"#,
        ] {
            assert_eq!(parsed(json).unwrap(), expected, "{json}");
        }
    }

    #[test]
    fn what_a_cache_adds() {
        let json = r#"{"$A":{"narSize":42,"references":[],"downloadSize":7,"url":"nar/x"}}"#;
        let answers = parsed(json).unwrap();
        assert_eq!(answers[0].1.as_ref().unwrap().download_size, Some(7));
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        for (json, word) in [
            ("", "EOF"),
            ("7", "path-info"),
            (r#"{"$A":{"narSize":42,"refer"#, "EOF"),
            (r#"{"$A":{"narSize":42}}"#, "no references"),
            (r#"{"$A":{"narSize":-1,"references":[]}}"#, "-1"),
            (
                r#"{"$A":{"narSize":1,"references":["/etc/passwd"]}}"#,
                "/etc/passwd",
            ),
            (r#"{"/etc/passwd":null}"#, "/etc/passwd"),
            (r#"[{"narSize":1,"references":[]}]"#, "store path"),
            (r#"{"info":{},"version":3}"#, "newer"),
            (r#"{"info":{},"storeDir":"/gnu/store"}"#, "/gnu/store"),
            (r"{} trailing", "trailing"),
        ] {
            let error = parsed(json).unwrap_err().to_string();
            assert!(error.contains(word), "{json}: {error}");
        }
    }
}
