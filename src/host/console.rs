//! Opening a guest's console, whichever kind it has.

use std::time::{Duration, Instant};

use crate::folders::Folders;
use crate::guest::vga::{Frame, Screen, VgaConsole};
use crate::guest::{Console, ConsoleError};
use crate::host::HostError;
use crate::lab::ConsoleKind;
use crate::libvirt::Libvirt;
use crate::locked::{self, Locked, LockedError};
use crate::state::DomainName;

/// Opens the console of a running or paused domain, exclusively as long as the value lives.
pub(super) fn open(
    libvirt: &Libvirt,
    folders: &Folders,
    name: &DomainName,
    kind: ConsoleKind,
) -> Result<Box<dyn Console>, HostError> {
    match kind {
        ConsoleKind::Serial => Ok(Box::new(ExclusiveConsole {
            // libvirt refuses a second session, too, and does not say who has the first.
            _lock: lock(folders, name)?,
            console: libvirt.open_console(name)?,
            // A guest that cannot start its disk prints that on the screen only. Nothing is typed there.
            screen: libvirt
                .screen(name)
                .ok()
                .map(|screen| Box::new(screen) as Box<dyn Screen>),
        })),
        ConsoleKind::Vga => Ok(Box::new(VgaConsole::new(screen(libvirt, folders, name)?))),
    }
}

/// Opens the screen and the keyboard of a running or paused domain, exclusively as long as the value lives.
pub(super) fn screen(
    libvirt: &Libvirt,
    folders: &Folders,
    name: &DomainName,
) -> Result<impl Screen + use<>, HostError> {
    Ok(Exclusive {
        _lock: lock(folders, name)?,
        screen: libvirt.screen(name)?,
    })
}

/// Locks a domain's console among netlabs: libvirt lets several clients type on one keyboard. The lock file is in the
/// lab's folder.
fn lock(folders: &Folders, name: &DomainName) -> Result<Locked, HostError> {
    let folder = folders.lab(name.lab()).join("consoles");
    let failed = |source| HostError::Console {
        domain: name.clone(),
        source,
    };
    Folders::make(&folder).map_err(|error| failed(ConsoleError::failed(error)))?;
    Locked::take(&folder.join(name.vm().as_str()), &locked::verb()).map_err(|error| match error {
        LockedError::Held { holder } => HostError::ConsoleInUse {
            domain: name.clone(),
            holder,
        },
        error @ LockedError::Io { .. } => failed(ConsoleError::failed(error)),
    })
}

/// A console with its lock.
struct ExclusiveConsole {
    console: Box<dyn Console>,
    screen: Option<Box<dyn Screen>>,
    _lock: Locked,
}

impl Console for ExclusiveConsole {
    fn screen_text(&mut self) -> Option<Vec<String>> {
        match self.screen.as_mut()?.frame() {
            Ok(Frame::Text(page)) => Some(page.rows()),
            Ok(Frame::Picture) => None,
            Err(_) => {
                // The serial console is the guest's: without its screen the session goes on.
                self.screen = None;
                None
            }
        }
    }

    fn read(&mut self, wait: Duration) -> Result<Vec<u8>, ConsoleError> {
        self.console.read(wait)
    }

    fn send(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        self.console.send(text)
    }

    fn send_unseen(&mut self, text: &[u8]) -> Result<(), ConsoleError> {
        self.console.send_unseen(text)
    }

    fn is_screen(&self) -> bool {
        self.console.is_screen()
    }

    fn until(&mut self, deadline: Option<Instant>) {
        self.console.until(deadline);
    }

    fn obstacle(&mut self) -> Option<String> {
        self.console.obstacle()
    }

    fn screenshot(&mut self) -> Result<Option<Vec<u8>>, ConsoleError> {
        self.console.screenshot()
    }
}

/// A screen with its lock.
struct Exclusive<S> {
    screen: S,
    _lock: Locked,
}

impl<S: Screen> Screen for Exclusive<S> {
    fn frame(&mut self) -> Result<Frame, ConsoleError> {
        self.screen.frame()
    }

    fn text_memory(&mut self) -> Result<Vec<u8>, ConsoleError> {
        self.screen.text_memory()
    }

    fn press(&mut self, keys: &[u32]) -> Result<(), ConsoleError> {
        self.screen.press(keys)
    }

    fn screenshot(&mut self) -> Result<Vec<u8>, ConsoleError> {
        self.screen.screenshot()
    }

    fn obstacle(&mut self) -> Option<String> {
        self.screen.obstacle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_console_names_the_process_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders {
            state: folder.path().into(),
            cache: folder.path().into(),
        };
        let name = DomainName::try_from("demo.vm1".to_owned()).unwrap();
        let first = lock(&folders, &name).unwrap();
        let Err(HostError::ConsoleInUse { holder, .. }) = lock(&folders, &name) else {
            panic!("two sessions");
        };
        assert!(holder.ends_with(&format!("process {}", std::process::id())), "{holder}");
        drop(first);
        lock(&folders, &name).unwrap();
    }
}
