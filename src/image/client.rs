//! The HTTP client of downloads, and the redirects that it follows.

use std::time::Duration;

use reqwest::{Client, Url, redirect};

use super::fetch::FetchError;

/// The most redirects that are followed.
const REDIRECTS: usize = 10;

/// Why a redirect is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum RedirectError {
    /// From https to this URL.
    #[error("it redirects from https to {0}, which is not allowed")]
    Insecure(String),
    /// More than [`REDIRECTS`].
    #[error("too many redirects")]
    TooMany,
}

/// Returns a client for `url` that waits at most `stall` for a connection.
pub(super) fn client(url: &str, stall: Duration) -> Result<Client, FetchError> {
    // Fails where the process has one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = redirect::Policy::custom(|attempt| {
        let before: Vec<&str> = attempt.previous().iter().map(Url::as_str).collect();
        match may_follow(&before, attempt.url().as_str()) {
            Ok(()) => attempt.follow(),
            Err(error) => attempt.error(error),
        }
    });
    let mut builder = Client::builder()
        .user_agent(concat!("netlab/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(stall)
        .redirect(policy);
    let host = url.split("://").nth(1).unwrap_or_default();
    if ["127.", "localhost", "[::1]"].iter().any(|this| host.starts_with(this)) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(FetchError::Connection)
}

/// Whether a redirect from the addresses `before` to `next` is followed.
fn may_follow(before: &[&str], next: &str) -> Result<(), RedirectError> {
    let secure = |url: &str| url.starts_with("https:");
    if before.iter().any(|url| secure(url)) && !secure(next) {
        return Err(RedirectError::Insecure(next.to_owned()));
    }
    if before.len() > REDIRECTS {
        return Err(RedirectError::TooMany);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_from_https_to_http_and_loops_are_refused() {
        assert_eq!(may_follow(&["http://a/x"], "https://b/x"), Ok(()));
        assert_eq!(may_follow(&["https://a/x"], "https://b/x"), Ok(()));
        let insecure = RedirectError::Insecure("http://a/x".to_owned());
        assert_eq!(may_follow(&["http://a/x", "https://a/x"], "http://a/x"), Err(insecure));
        assert_eq!(
            may_follow(&["http://a/x"; 11], "http://a/x"),
            Err(RedirectError::TooMany)
        );
    }
}
