//! Graphs for tests: paths named by a word, with a hash made of it.

use super::{Graph, PathInfo, PathSet, StorePath};

/// The store path `/nix/store/HASH-NAME`, with a hash that follows from `seed`.
pub(crate) fn path_of(seed: &str, name: &str) -> StorePath {
    const BASE32: &[u8] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in seed.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let hash: String = (0..32)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(BASE32[(state >> 59) as usize])
        })
        .collect();
    StorePath::from_base_name(&format!("{hash}-{name}")).unwrap()
}

/// The store path with this name and a hash of it.
pub(crate) fn path(name: &str) -> StorePath {
    path_of(name, name)
}

/// A graph of `(name, size, references)`.
pub(crate) fn graph(nodes: &[(&str, u64, &[&str])]) -> Graph {
    let mut graph = Graph::new();
    for (name, size, references) in nodes {
        graph.add(&info(name, *size, references)).unwrap();
    }
    graph
}

/// What is known of one path.
pub(crate) fn info(name: &str, nar_size: u64, references: &[&str]) -> PathInfo {
    PathInfo {
        path: path(name),
        nar_size,
        references: references.iter().map(|name| path(name)).collect(),
        download_size: None,
    }
}

/// The names of a set, sorted.
pub(crate) fn names(graph: &Graph, set: &PathSet) -> Vec<String> {
    let mut names: Vec<String> = set
        .iter()
        .map(|id| graph.path(id).name().to_owned())
        .collect();
    names.sort();
    names
}
