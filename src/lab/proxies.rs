//! The proxies by which who runs netlab reaches the Internet: guests of a lab that leads to this machine's network get them.

use std::fmt;
use std::sync::Arc;

/// What programs read, and whether it is the URL of a proxy.
const VARIABLES: [(&str, bool); 3] = [("http_proxy", true), ("https_proxy", true), ("no_proxy", false)];

/// Environment variables of a shell, with their values.
///
/// Any two are equal and none is recorded: they are given with what is done in a guest, and a caller who has others changes
/// no guest.
#[derive(Clone, Default)]
pub struct Proxies {
    /// Shared: each guest of a lab has the same ones, which name all its guests.
    variables: Arc<Vec<(&'static str, String)>>,
    withheld: Vec<&'static str>,
}

impl Proxies {
    /// Returns those that `variable` has, by their names in small or in capital letters. One that guests cannot reach or
    /// that would give them a password is withheld.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let (mut variables, mut withheld) = (Vec::new(), Vec::new());
        for (name, is_url) in VARIABLES {
            let value = variable(name).or_else(|| variable(&name.to_uppercase()));
            let Some(value) = value.filter(|value| !value.trim().is_empty()) else {
                continue;
            };
            let plain = value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || (!is_url && byte == b' '));
            if plain && !(is_url && (value.contains('@') || is_loopback(&value))) {
                variables.push((name, value));
            } else {
                withheld.push(name);
            }
        }
        if !variables.iter().any(|(name, _)| *name != "no_proxy") {
            variables.clear();
        }
        Self {
            variables: Arc::new(variables),
            withheld,
        }
    }

    /// Returns these, by which none of `names` is asked for.
    #[must_use]
    pub fn but_for(mut self, names: impl IntoIterator<Item = String>) -> Self {
        if self.variables.is_empty() {
            return self;
        }
        let variables = Arc::make_mut(&mut self.variables);
        let place = variables.iter().position(|(name, _)| *name == "no_proxy");
        let before = place.map(|place| variables.remove(place).1);
        let all: Vec<String> = before.into_iter().chain(names).collect();
        variables.push(("no_proxy", all.join(",")));
        self
    }

    /// Returns names and values.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Returns the names of those that are set and that no guest gets.
    pub fn withheld(&self) -> &[&'static str] {
        &self.withheld
    }
}

/// Whether a proxy is on the loopback device of the machine that it is written for.
fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = host.find('/').unwrap_or(host.len());
    let host = &host[..end];
    host.starts_with("[::1]") || host.starts_with("127.") || host.split(':').next() == Some("localhost")
}

impl PartialEq for Proxies {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Proxies {}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.variables().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Proxies {
        let value = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Proxies::of(value)
    }

    #[test]
    fn a_proxy_that_guests_cannot_reach_or_that_has_a_password_is_withheld() {
        for wrong in [
            "http://127.0.0.1:3128",
            "localhost:3128/",
            "http://[::1]:3128",
            "http://me:secret@proxy:3128",
            "http://proxy\n:3128",
        ] {
            let proxies = of(&[("http_proxy", wrong), ("no_proxy", "10.0.0.0/8")]);
            assert_eq!(proxies.withheld(), ["http_proxy"], "{wrong:?}");
            assert_eq!(proxies.variables().count(), 0, "{wrong:?}");
            assert!(!format!("{proxies:?}").contains("secret"));
        }
    }

    #[test]
    fn the_labs_own_machines_are_asked_without_a_proxy() {
        let proxies = of(&[
            ("HTTP_PROXY", "http://proxy.example.org:3128"),
            ("no_proxy", "example.net"),
        ]);
        let proxies = proxies.but_for(["vm1".to_owned(), "10.0.1.2".to_owned()]);
        assert_eq!(
            proxies.variables().collect::<Vec<_>>(),
            [
                ("http_proxy", "http://proxy.example.org:3128"),
                ("no_proxy", "example.net,vm1,10.0.1.2")
            ]
        );
        assert_eq!(of(&[]).but_for(["vm1".to_owned()]).variables().count(), 0);
    }
}
