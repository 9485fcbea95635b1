//! `docs/settings.md` names every key of the settings.

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
