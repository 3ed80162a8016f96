//! Linux networking through a [`Shell`](crate::transport::Shell): links and addresses, firewall rules, DHCP servers,
//! kernel settings. Observes what a lab owns and applies network steps; decides nothing about what is wanted.

pub mod dnsmasq;
pub mod ip;
pub mod nftables;
pub mod sysctl;
