//! Opening a guest's console, whichever kind it has.

use crate::folders::Folders;
use crate::guest::vga::{Frame, Screen, VgaConsole};
use crate::guest::{Console, ConsoleError};
use crate::host::HostError;
use crate::lab::ConsoleKind;
use crate::libvirt::Libvirt;
use crate::locked::{self, Locked, LockedError};
use crate::state::DomainName;

/// Opens the console of a running or paused domain.
pub(super) fn open(
    libvirt: &Libvirt,
    folders: &Folders,
    name: &DomainName,
    kind: ConsoleKind,
) -> Result<Box<dyn Console>, HostError> {
    match kind {
        ConsoleKind::Serial => Ok(libvirt.open_console(name)?),
        ConsoleKind::Vga => Ok(Box::new(VgaConsole::new(screen(libvirt, folders, name)?))),
    }
}

/// Opens the screen and the keyboard of a running or paused domain, exclusively as long as the value lives.
pub(super) fn screen(
    libvirt: &Libvirt,
    folders: &Folders,
    name: &DomainName,
) -> Result<impl Screen + use<>, HostError> {
    let keyboard = lock_keyboard(folders, name).map_err(|source| HostError::Screen {
        domain: name.clone(),
        source,
    })?;
    Ok(Exclusive {
        screen: libvirt.screen(name)?,
        _keyboard: keyboard,
    })
}

/// Locks a domain's keyboard, because libvirt lets several clients type at once. The lock file is in the lab's
/// folder.
fn lock_keyboard(folders: &Folders, name: &DomainName) -> Result<Locked, ConsoleError> {
    let folder = folders.lab(name.lab()).join("keyboards");
    Folders::make(&folder).map_err(ConsoleError::failed)?;
    Locked::take(&folder.join(name.vm().as_str()), &locked::verb()).map_err(|error| match error {
        LockedError::Held { holder } => ConsoleError::Busy(holder),
        error @ LockedError::Io { .. } => ConsoleError::failed(error),
    })
}

/// A screen with its keyboard locked.
struct Exclusive<S> {
    screen: S,
    _keyboard: Locked,
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
    fn a_locked_keyboard_names_the_process_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders {
            state: folder.path().into(),
            cache: folder.path().into(),
        };
        let name = DomainName::try_from("demo.vm1".to_owned()).unwrap();
        let first = lock_keyboard(&folders, &name).unwrap();
        let Err(ConsoleError::Busy(holder)) = lock_keyboard(&folders, &name) else {
            panic!("two keyboards");
        };
        assert!(holder.ends_with(&format!("process {}", std::process::id())), "{holder}");
        drop(first);
        lock_keyboard(&folders, &name).unwrap();
    }
}
