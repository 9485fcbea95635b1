//! `docs/settings.md` names every key of the settings; the example of `docs/fleet.md` is one.

#[test]
fn every_key_is_on_the_page() {
    let page = include_str!("../../docs/settings.md");
    let root = tempfile::tempdir().unwrap();
    let (_, views) = nixctl_proto::settings::load(root.path()).unwrap();
    assert!(views.len() > 10);
    for view in views {
        let name = view.key.rsplit('.').next().unwrap();
        assert!(
            page.contains(&format!("| `{name}` |")),
            "docs/settings.md lacks {}",
            view.key
        );
    }
}

#[test]
fn the_example_of_a_fleet_can_be_used() {
    let page = include_str!("../../docs/fleet.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let file = std::path::PathBuf::from("/etc/nixctl/config.toml");
    let (settings, _) = nixctl_proto::settings::merge(&[(file, example.to_owned())]).unwrap();
    assert_eq!(settings.upgrade.windows.len(), 2);
    assert!(!settings.metrics.textfile.is_empty());
}
