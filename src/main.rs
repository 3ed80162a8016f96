//! netlab, the program.

use std::path::PathBuf;
use std::process::ExitCode;

use netlab::folders::Folders;
use netlab::host::emulated::init_main;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [
        "host-init",
        "--lab",
        lab,
        "--host",
        host,
        "--state",
        state,
        "--cache",
        cache,
    ] = words.as_slice()
        && let (Ok(lab), Ok(host)) = (lab.parse(), host.parse())
    {
        let folders = Folders {
            state: PathBuf::from(state),
            cache: PathBuf::from(cache),
        };
        return init_main(&folders, &lab, &host);
    }
    ExitCode::from(2)
}
