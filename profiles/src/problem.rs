//! What is wrong with what a person wrote, and the cure.

/// Something wrong with a setting, named by its keys; the loader knows the file and line of each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Keys from the top, such as `["user", "ana", "ssh-keys"]`: tables of an array by their `name`.
    pub keys: Vec<String>,
    pub saw: String,
    pub wanted: String,
    pub cure: String,
}

impl Finding {
    pub fn new(keys: &[&str], saw: impl Into<String>, wanted: impl Into<String>, cure: impl Into<String>) -> Self {
        let keys = keys.iter().map(|key| key.to_string()).collect();
        Finding { keys, saw: saw.into(), wanted: wanted.into(), cure: cure.into() }
    }
}

/// The known word nearest to `word`, where one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
