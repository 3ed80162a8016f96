//! Files that guests boot from, brought to a host behind ssh through libvirt's storage API.

use super::Libvirt;

impl Libvirt {
    /// The connection still stands; asks nobody.
    pub fn is_alive(&self) -> bool {
        self.conn.is_alive().unwrap_or(false)
    }
}
