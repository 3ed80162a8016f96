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
        ConsoleKind::Serial => libvirt.open_console(name),
        ConsoleKind::Vga => Ok(Box::new(VgaConsole::new(screen(libvirt, folders, name)?))),
    }
}

/// The screen and the keyboard of a running or paused domain, for nobody else as long as the value lives.
pub(super) fn screen(
    libvirt: &Libvirt,
    folders: &Folders,
    name: &DomainName,
) -> Result<impl Screen + use<>, HostError> {
    let keyboard = take_keyboard(folders, name).map_err(|error| HostError::Other {
        doing: format!("opening the console of {name}"),
        message: error.to_string(),
    })?;
    Ok(Exclusive {
        screen: libvirt.screen(name)?,
        _keyboard: keyboard,
    })
}

/// Takes the lock of a guest's keyboard, because libvirt lets two users type at once. The lock file is in the lab's
/// folder.
fn take_keyboard(folders: &Folders, name: &DomainName) -> Result<Locked, ConsoleError> {
    let folder = folders.lab(name.lab()).join("keyboards");
    Folders::make(&folder).map_err(ConsoleError::failed)?;
    Locked::take(&folder.join(name.vm().as_str()), &locked::verb()).map_err(|error| match error {
        LockedError::Held { holder } => ConsoleError::Busy(holder),
        error @ LockedError::Io { .. } => ConsoleError::failed(error),
    })
}

/// A screen with its keyboard's lock.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_the_second_who_wants_to_type_names_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders {
            state: folder.path().into(),
            cache: folder.path().into(),
        };
        let name = DomainName::try_from("demo.vm1".to_owned()).unwrap();
        let first = take_keyboard(&folders, &name).unwrap();
        let Err(ConsoleError::Busy(holder)) = take_keyboard(&folders, &name) else {
            panic!("two keyboards");
        };
        assert!(holder.ends_with(&format!("process {}", std::process::id())), "{holder}");
        drop(first);
        take_keyboard(&folders, &name).unwrap();
    }
}
