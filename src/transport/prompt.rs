//! A shell for a person, whose prompt names the machine that it is on.

const SCRIPT: &str = include_str!("prompt.sh");

/// Returns the command that opens a shell for the user of this terminal on the machine of that name, which the prompt shows.
pub(super) fn shell_on(machine: &str) -> Vec<String> {
    ["sh", "-c", SCRIPT, "sh", machine].map(ToOwned::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Cmd, LocalShell, Shell};

    #[test]
    fn the_prompt_names_the_machine() {
        // A shell that reads no terminal shows no prompt.
        let show = "eval \"${PROMPT_COMMAND:-:}\"; echo \"$PS1\"\n";
        let output = LocalShell.check(&Cmd::new(shell_on("node1")).fed(show)).unwrap();
        let output = String::from_utf8(output).unwrap();
        assert!(output.starts_with("node1"), "{output}");
    }
}
