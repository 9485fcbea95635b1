//! The text from which Nix builds a hybrid generation: pure.
//!
//! A derivation of one shell program that makes folders, links and small files. It needs nothing but a
//! shell, `mkdir`, `ln` and `chmod` out of a closure that is on the disk. All store paths it names are inputs, so
//! that Nix finds the references. The same recipe gives the same store path.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Stands for the hybrid's own store path in links and files.
pub(in crate::switch) const OUT: &str = "/@nixctl-hybrid-out@";

/// Arguments of one command in the program.
const MOST_ARGUMENTS: usize = 300;
/// Bytes of one `printf`.
const PIECE: usize = 16 << 10;

/// An entry of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::switch) enum Node {
    /// A link to this.
    Link(String),
    /// A small file.
    File { bytes: Vec<u8>, executable: bool },
    /// A folder that has nothing in it.
    Empty,
}

/// Entries by their relative path; folders on the way are not named.
pub(in crate::switch) type Tree = BTreeMap<String, Node>;

/// Everything the derivation is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::switch) struct Recipe {
    /// Name of the derivation.
    pub name: String,
    /// The shell: store path, and the rest of the way to the program.
    pub shell: (String, String),
    /// The same of the folder with `mkdir`, `ln` and `chmod`.
    pub tools: (String, String),
    /// Store paths that the tree names.
    pub inputs: BTreeSet<String>,
    /// What is built.
    pub tree: Tree,
}

/// The Nix expression.
pub(in crate::switch) fn expression(recipe: &Recipe) -> String {
    let mut text = String::from("derivation {\n");
    let path = |(store, rest): &(String, String)| {
        format!(
            "\"${{builtins.storePath {}}}\" + {}",
            quote_nix(store),
            quote_nix(rest)
        )
    };
    let _ = writeln!(text, "  name = {};", quote_nix(&recipe.name));
    text.push_str("  system = builtins.currentSystem;\n");
    let _ = writeln!(text, "  builder = {};", path(&recipe.shell));
    let _ = writeln!(text, "  PATH = {};", path(&recipe.tools));
    // The program is read from a file, because it is too long for an argument.
    text.push_str("  args = [ \"-c\" \". \\\"$scriptPath\\\"\" ];\n");
    text.push_str("  passAsFile = [ \"script\" \"inputs\" ];\n");
    text.push_str("  preferLocalBuild = true;\n  allowSubstitutes = false;\n");
    text.push_str("  inputs = map builtins.storePath [\n");
    for input in &recipe.inputs {
        let _ = writeln!(text, "    {}", quote_nix(input));
    }
    text.push_str("  ];\n");
    let _ = writeln!(text, "  script = {};", quote_nix(&script(&recipe.tree)));
    text.push_str("}\n");
    text
}

/// The shell program that makes the tree.
fn script(tree: &Tree) -> String {
    let mut text = String::from("set -e\numask 022\nmkdir -p \"$out\"\ncd \"$out\"\n");
    let folders = tree.iter().map(|(path, node)| match node {
        Node::Empty => path.as_str(),
        Node::Link(_) | Node::File { .. } => parent(path),
    });
    let folders: BTreeSet<&str> = folders.filter(|folder| !folder.is_empty()).collect();
    let folders: Vec<String> = folders.into_iter().map(own).collect();
    commands(&mut text, "mkdir -p --", &folders, "");
    links(&mut text, tree);
    let mut programs = Vec::new();
    for (path, node) in tree {
        if let Node::File { bytes, executable } = node {
            file(&mut text, path, bytes);
            programs.extend(executable.then(|| own(path)));
        }
    }
    commands(&mut text, "chmod 755 --", &programs, "");
    text
}

/// One command makes many links of a folder, as long as each is named as what it leads to.
fn links(text: &mut String, tree: &Tree) {
    let mut alike: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, node) in tree {
        let Node::Link(target) = node else { continue };
        let name = path.rsplit('/').next().unwrap_or(path);
        if target.rsplit('/').next() == Some(name) {
            alike.entry(parent(path)).or_default().push(quote(target));
        } else {
            let _ = writeln!(text, "ln -s -- {} {}", quote(target), own(path));
        }
    }
    for (folder, targets) in alike {
        commands(text, "ln -s --", &targets, &own(folder));
    }
}

fn commands(text: &mut String, command: &str, arguments: &[String], last: &str) {
    for batch in arguments.chunks(MOST_ARGUMENTS) {
        let _ = writeln!(text, "{command} {} {last}", batch.join(" "));
    }
}

fn file(text: &mut String, path: &str, bytes: &[u8]) {
    let path = own(path);
    let _ = writeln!(text, ": > {path}");
    match std::str::from_utf8(bytes)
        .ok()
        .filter(|it| !it.contains('\0'))
    {
        Some(content) if !content.is_empty() => {
            let _ = writeln!(text, "printf %s {} > {path}", quote(content));
        }
        Some(_) => {}
        None => {
            for piece in bytes.chunks(PIECE) {
                let octal: String = piece.iter().map(|byte| format!("\\0{byte:03o}")).collect();
                let _ = writeln!(text, "printf %b '{octal}' >> {path}");
            }
        }
    }
}

/// A path of the tree, which never looks like an option.
fn own(path: &str) -> String {
    quote(&format!("./{path}"))
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A word of the shell, with the hybrid's own store path put in.
fn quote(text: &str) -> String {
    let pieces: Vec<String> = text
        .split(OUT)
        .map(|piece| match piece {
            "" => String::new(),
            piece => format!("'{}'", piece.replace('\'', "'\\''")),
        })
        .collect();
    match text {
        "" => "''".to_owned(),
        _ => pieces.join("\"$out\""),
    }
}

/// A string of the Nix language.
fn quote_nix(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' | '$' => {
                quoted.push('\\');
                quoted.push(char);
            }
            // Nix takes a carriage return before a line's end for part of it.
            '\r' => quoted.push_str("\\r"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::switch::testing::store_path;

    fn file(text: &str, executable: bool) -> Node {
        Node::File {
            bytes: text.as_bytes().to_vec(),
            executable,
        }
    }

    /// Runs the program with a real shell.
    fn built(tree: &Tree) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out").display().to_string();
        let program = dir.path().join("program");
        std::fs::write(&program, script(tree)).unwrap();
        let status = Command::new("/bin/sh")
            .arg(&program)
            .env("out", &out)
            .status()
            .unwrap();
        assert!(status.success());
        (dir, out)
    }

    #[test]
    fn the_program_makes_the_tree() {
        let nasty = "it's \"$out\" `x` \\n %s\r\n\ttab\n";
        let many: Tree = (0..700)
            .map(|n| {
                (
                    format!("sw/bin/p{n}"),
                    Node::Link(format!("/nix/store/x/bin/p{n}")),
                )
            })
            .collect();
        let mut tree = Tree::from([
            ("etc/a b".to_owned(), Node::Link("../c'd".to_owned())),
            ("etc/-rf".to_owned(), Node::Link("-rf".to_owned())),
            ("etc/own".to_owned(), Node::Link(format!("{OUT}/etc/x"))),
            ("empty/folder".to_owned(), Node::Empty),
            ("nasty".to_owned(), file(nasty, false)),
            (
                "activate".to_owned(),
                file(&format!("#!/bin/sh\n{OUT}/etc {OUT}"), true),
            ),
            ("nothing".to_owned(), file("", false)),
            (
                "binary".to_owned(),
                Node::File {
                    bytes: (0..=255).cycle().take(40_000).collect(),
                    executable: false,
                },
            ),
        ]);
        tree.extend(many);
        let (_dir, out) = built(&tree);
        let link = |path: &str| std::fs::read_link(format!("{out}/{path}")).unwrap();
        assert_eq!(link("etc/a b").to_str(), Some("../c'd"));
        assert_eq!(link("etc/-rf").to_str(), Some("-rf"));
        assert_eq!(
            link("etc/own").to_str(),
            Some(format!("{out}/etc/x").as_str())
        );
        assert_eq!(link("sw/bin/p699").to_str(), Some("/nix/store/x/bin/p699"));
        let text = |path: &str| std::fs::read_to_string(format!("{out}/{path}")).unwrap();
        assert_eq!(text("nasty"), nasty);
        assert_eq!(text("nothing"), "");
        assert_eq!(text("activate"), format!("#!/bin/sh\n{out}/etc {out}"));
        let bytes = std::fs::read(format!("{out}/binary")).unwrap();
        assert!(bytes.iter().copied().eq((0..=255).cycle().take(40_000)));
        assert!(std::path::Path::new(&format!("{out}/empty/folder")).is_dir());
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &str| {
            std::fs::metadata(format!("{out}/{path}"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!((mode("activate"), mode("nasty")), (0o755, 0o644));
    }

    #[test]
    fn the_expression_names_all_inputs() {
        let (bash, coreutils, a) = (store_path("bash"), store_path("coreutils"), store_path("a"));
        let recipe = Recipe {
            name: "nixctl-hybrid-1".to_owned(),
            shell: (bash.clone(), "/bin/sh".to_owned()),
            tools: (coreutils, "/bin".to_owned()),
            inputs: BTreeSet::from([a.clone()]),
            tree: Tree::from([("x".to_owned(), file("${evil} \"", false))]),
        };
        let text = expression(&recipe);
        assert!(text.contains(&format!(
            "builder = \"${{builtins.storePath \"{bash}\"}}\" + \"/bin/sh\""
        )));
        assert!(text.contains(&format!("    \"{a}\"\n")));
        assert!(text.contains("\\${evil} \\\""), "{text}");
        assert_eq!(text, expression(&recipe.clone()));
    }

    #[test]
    fn strings_of_the_language() {
        for (text, quoted) in [
            ("a", "\"a\""),
            ("$${x}", "\"\\$\\${x}\""),
            ("\\\"", "\"\\\\\\\"\""),
            ("a\r\nb", "\"a\\r\nb\""),
        ] {
            assert_eq!(quote_nix(text), quoted);
        }
    }
}
