//! Writes archives and exports, good ones and, word by word, bad ones.

use super::{EXPORT_MAGIC, Node};

/// A string as archives have it.
pub(in crate::switch) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// Several.
pub(in crate::switch) fn words(out: &mut Vec<u8>, words: &[&str]) {
    for word in words {
        string(out, word.as_bytes());
    }
}

/// The archive of a node.
pub(in crate::switch) fn archive(node: &Node) -> Vec<u8> {
    let mut out = Vec::new();
    words(&mut out, &["nix-archive-1"]);
    write(&mut out, node);
    out
}

/// The export of store paths with these references.
pub(in crate::switch) fn export(all: &[(&str, &Node, &[&str])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, node, references) in all {
        out.extend(1u64.to_le_bytes());
        out.extend(archive(node));
        out.extend(EXPORT_MAGIC.to_le_bytes());
        words(&mut out, &[path]);
        out.extend((references.len() as u64).to_le_bytes());
        words(&mut out, references);
        words(&mut out, &[""]);
        out.extend(0u64.to_le_bytes());
    }
    out.extend(0u64.to_le_bytes());
    out
}

fn write(out: &mut Vec<u8>, node: &Node) {
    words(out, &["(", "type"]);
    match node {
        Node::File(size, content) => {
            let zeros = vec![0; usize::try_from(*size).unwrap()];
            words(out, &["regular", "contents"]);
            string(out, content.as_ref().unwrap_or(&zeros));
        }
        Node::Link(target) => {
            words(out, &["symlink", "target"]);
            string(out, target);
        }
        Node::Folder(folder) => {
            words(out, &["directory"]);
            for (name, node) in &folder.entries {
                words(out, &["entry", "(", "name"]);
                string(out, name);
                words(out, &["node"]);
                write(out, node);
                words(out, &[")"]);
            }
        }
        Node::Unread => panic!("an archive has nothing unread"),
    }
    words(out, &[")"]);
}
