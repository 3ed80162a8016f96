//! Opening a guest's console, whichever kind it has.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::{FlockOperation, flock};

use crate::folders::Folders;
use crate::guest::vga::{Frame, Screen, VgaConsole};
use crate::guest::{Console, ConsoleError};
use crate::host::HostError;
use crate::lab::ConsoleKind;
use crate::libvirt::Libvirt;
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

/// Two who type at a time on one keyboard make nonsense, and libvirt lets them. An flock(2), which the kernel drops
/// when its holder dies, on a file that says who holds it; the file goes with the lab's folder.
fn take_keyboard(folders: &Folders, name: &DomainName) -> Result<Keyboard, ConsoleError> {
    let failed = |error: io::Error| ConsoleError::Failed(format!("locking the keyboard: {error}"));
    let folder = folders.lab(name.lab()).join("keyboards");
    Folders::make(&folder).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(folder.join(name.vm().as_str())).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(ConsoleError::Busy(holder));
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    let verb = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with('-'))
        .unwrap_or_default();
    file.set_len(0).map_err(failed)?;
    write!(file, "`netlab {verb}`, process {}", std::process::id()).map_err(failed)?;
    Ok(Keyboard(file))
}

/// The right to type.
struct Keyboard(File);

impl Drop for Keyboard {
    fn drop(&mut self) {
        // Closing is not enough: a child that is just being started still has the file open until it is its program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// A screen with the right to type.
struct Exclusive<S> {
    screen: S,
    _keyboard: Keyboard,
}

impl<S: Screen> Screen for Exclusive<S> {
    fn look(&mut self) -> Result<Frame, ConsoleError> {
        self.screen.look()
    }

    fn glance(&mut self) -> Result<Vec<u8>, ConsoleError> {
        self.screen.glance()
    }

    fn press(&mut self, keys: &[u32]) -> Result<(), ConsoleError> {
        self.screen.press(keys)
    }

    fn picture(&mut self) -> Result<Vec<u8>, ConsoleError> {
        self.screen.picture()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_who_wants_to_type_is_told_who_does() {
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
