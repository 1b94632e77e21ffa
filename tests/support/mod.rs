//! What tests of files share: finding them, and comparing reports with their twins.

use std::fs;
use std::path::Path;

use portcullis::yaml::Problems;

/// Gives the YAML files of a folder of this repository, in order.
pub(crate) fn yaml_files(folder: &str) -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .filter(|path| path.ends_with(".yaml"))
        .collect();
    files.sort();
    files
}

/// Compares a report with the `.txt` twin of its file; `PORTCULLIS_BLESS=1` writes the twin.
pub(crate) fn expect_report(file: &str, problems: &Problems) {
    let twin = Path::new(file).with_extension("txt");
    let report = format!("{problems}\n");
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        fs::write(&twin, &report).unwrap();
    }
    let expected = fs::read_to_string(&twin).unwrap_or_default();
    assert_eq!(report, expected, "{}", twin.display());
}

/// Takes `# ` out of a line that holds a key behind it.
pub(crate) fn uncommented(line: &str) -> String {
    let bare = line.replacen("# ", "", 1);
    let key = bare.trim_start().trim_start_matches("- ");
    let in_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let end = key.find(|c| !in_key(c));
    let is_key = end.is_some_and(|end| end > 0 && key.get(end..).unwrap().starts_with(':'));
    if line.trim_start().starts_with("# ") && is_key {
        bare
    } else {
        line.to_owned()
    }
}
