//! Linux networking through a [`Shell`](crate::transport::Shell): links and addresses, firewall rules, DHCP servers,
//! kernel settings. Observes what a lab owns and applies network steps; decides nothing about what is wanted.

pub mod capture;
pub mod dnsmasq;
pub mod flows;
pub mod ip;
pub mod nftables;
pub mod sysctl;
pub mod tc;

/// How long one batch of changes may take: the kernel may need tens of milliseconds for each of thousands of links.
pub(crate) const BATCH_WITHIN: std::time::Duration = std::time::Duration::from_secs(600);

/// One of several items failed. Those before it are done; of itself a part may be; those after it are not begun.
#[derive(Debug)]
pub struct FailedAt<E> {
    /// Its position, from 0.
    pub at: usize,
    /// Why it failed.
    pub cause: E,
}

impl<E> FailedAt<E> {
    /// The first item failed with `cause`.
    pub fn first(cause: impl Into<E>) -> Self {
        Self {
            at: 0,
            cause: cause.into(),
        }
    }
}

impl<E: std::fmt::Display> std::fmt::Display for FailedAt<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.cause.fmt(f)
    }
}
