//! `docs/errors.md` is the error catalogue on paper; this holds the page to the table.
//! `NIXCTL_BLESS=1 cargo test -p nixctl-proto --test errors_page` writes it anew.

use nixctl_proto::Code;

fn page() -> String {
    let mut page = String::from(
        "# Errors\n\nEvery refusal and failure of nixctl has a code that never changes its meaning.\n\
         `nixctl explain CODE` prints the same text. 1xxx are found before anything is changed,\n\
         2xxx happen while working, 3xxx concern the request and the caller, 9xxx are our bugs.\n",
    );
    for code in Code::ALL {
        page.push_str(&format!(
            "\n## {code} {}\n\n{}. Exit code {}, D-Bus error `{}`.\n\n{}\n\nHelp: {}\n",
            code.name(),
            capitalised(code.summary()),
            code.exit() as u8,
            code.dbus_name(),
            code.explanation(),
            code.help(),
        ));
    }
    page
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

#[test]
fn the_page_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
    if std::env::var_os("NIXCTL_BLESS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == page(),
        "docs/errors.md differs from the catalogue; write it with NIXCTL_BLESS=1"
    );
}
