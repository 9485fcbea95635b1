//! Closures whose parts lie in several stores.

use super::*;
use crate::resource::testing::Machine;
use crate::switch::testing_caches::{Stores, machine, store_path};
use crate::switch::toplevel::nar::Node;

const A: &str = "https://a.example.org";
const B: &str = "file:///srv/b";

/// `top` needs `mid` and `lib`, `mid` needs `lib` and `leaf`; each is in the stores named.
fn stores(places: &[(&str, &[&str])]) -> Stores {
    let mut stores = Stores::default();
    let [mid, lib, leaf] = ["mid", "lib", "leaf"].map(store_path);
    for (name, places) in places {
        let references: &[&StorePath] = match *name {
            "top" => &[&mid, &lib],
            "mid" => &[&lib, &leaf, &mid],
            _ => &[],
        };
        for place in *places {
            stores.put(place, &store_path(name), references, Node::Unread);
        }
    }
    stores
}

fn locate(machine: &Machine, graph: &mut Graph) -> Result<Vec<String>, ReadError> {
    let nix = store_path("nix-2.34.8");
    let reader = ClosureReader::new(&machine.host, &nix, &machine.cancel);
    let mut located = Located::new([A, A, B].map(|url| StoreUrl::new(url).unwrap()));
    reader.locate(graph, &mut located, &[store_path("top")])?;
    let closure = graph.closure_of([&store_path("top")]).unwrap();
    assert_eq!(closure.len(), 4);
    let remote = |name: &str| located.cache_of(&store_path(name)).map(ToString::to_string);
    Ok(["top", "mid", "lib", "leaf"]
        .map(|name| remote(name).unwrap_or_else(|| "here".to_owned()))
        .to_vec())
}

#[test]
fn every_part_is_found_where_it_is() {
    let here = "local";
    for (name, places, expected, questions) in [
        (
            "all here",
            [&[here][..], &[here], &[here], &[here]],
            ["here"; 4],
            // A level at a time: top, mid and lib, leaf.
            3,
        ),
        (
            "all in one cache",
            [&[A], &[A], &[A], &[A]],
            [A; 4],
            // Not here; the names; those not here either; all of them.
            4,
        ),
        (
            "a cache and a part here",
            [&[A], &[A], &[A, here], &[A]],
            [A, A, "here", A],
            4,
        ),
        (
            "what no cache has is here",
            [&[A], &[A], &[here], &[A]],
            [A, A, "here", A],
            8,
        ),
        (
            "built here, the rest fetched",
            [&[here], &[A], &[here], &[A]],
            ["here", A, "here", A],
            6,
        ),
        (
            "one cache and the next",
            [&[A], &[B], &[A, B], &[B]],
            [A, B, A, B],
            10,
        ),
    ] {
        let names = ["top", "mid", "lib", "leaf"];
        let places: Vec<(&str, &[&str])> = names.into_iter().zip(places).collect();
        let (machine, _) = machine(stores(&places));
        let found = locate(&machine, &mut Graph::new()).unwrap();
        assert_eq!(found, expected, "{name}");
        let asked = machine.exec.calls().len();
        assert!(asked <= questions, "{name}: {:#?}", machine.exec.lines());
        // What is known is not asked for.
        machine.exec.forget();
        let mut graph = Graph::new();
        locate(&machine, &mut graph).unwrap();
        machine.exec.forget();
        locate(&machine, &mut graph).unwrap();
        assert_eq!(machine.exec.calls().len(), 0, "{name}");
    }
}

#[test]
fn what_is_nowhere_is_named() {
    let (machine, _) = machine(stores(&[("top", &[A]), ("mid", &[A]), ("lib", &["local"])]));
    let error = locate(&machine, &mut Graph::new()).unwrap_err().to_string();
    assert!(
        error.ends_with(&format!(
            "{} is not in the store, {A}, {B}",
            store_path("leaf")
        )),
        "{error}"
    );
}

#[test]
fn a_cache_that_does_not_answer_is_passed_over() {
    let all = |of: &'static [&'static str]| ["top", "mid", "lib", "leaf"].map(|name| (name, of));
    let mut stores = stores(&all(&[A, B]));
    stores.silent.insert(A.to_owned());
    let (machine, stores) = machine(stores);
    assert_eq!(locate(&machine, &mut Graph::new()).unwrap(), [B; 4]);
    // One that hangs costs its whole patience each time.
    let asked = |line: &&String| line.contains(&format!("--store {A} "));
    assert_eq!(machine.exec.lines().iter().filter(asked).count(), 1);
    // Unless it is needed: then that is what is said, rather than that the path is nowhere.
    stores.lock().unwrap().has.clear();
    let error = locate(&machine, &mut Graph::new()).unwrap_err();
    let is_silent = matches!(&error, ReadError::Nowhere { silent: Some(it), .. } if is_refusal(it));
    assert!(is_silent, "{error}");
    let error = error.to_string();
    assert!(error.contains(A) && error.contains("connect"), "{error}");
}

#[test]
fn what_a_cache_that_does_not_answer_says() {
    let cache = || Source::Cache(StoreUrl::new(A).unwrap());
    let failed = |from: Source, stderr: &str| ReadError::Exec {
        from,
        source: ExecError::Failed {
            line: "nix".to_owned(),
            code: 1,
            stderr: stderr.to_owned(),
        },
    };
    let hangs = "error: unable to download 'https://x/y.narinfo': Timeout was reached (28)";
    let lacks = "error: path '/nix/store/x' is not valid";
    let again = format!("warning: {hangs}; retrying in 300 ms\n");
    for (stderr, silent) in [
        (hangs, true),
        (&format!("{again}{hangs}\n"), true),
        (&format!("error:\n  while x\n\n  {hangs}\n"), true),
        (lacks, false),
        (&format!("{again}{lacks}\n"), false),
        ("", false),
    ] {
        assert_eq!(is_silence(&failed(cache(), stderr)), silent, "{stderr}");
    }
    assert!(!is_silence(&failed(Source::Local, hangs)));
}

#[test]
fn the_caches_that_nix_is_set_up_with() {
    let (machine, _) = machine(Stores::default());
    let nix = store_path("nix-2.34.8");
    let reader = ClosureReader::new(&machine.host, &nix, &machine.cancel);
    let urls = reader.configured().unwrap();
    let urls: Vec<&str> = urls.iter().map(StoreUrl::as_str).collect();
    assert_eq!(urls, [A, B]);
    assert!(machine.exec.lines()[0].ends_with("config show substituters"));
}
