//! netlab, the program: arguments in, exit status out.

fn main() -> std::process::ExitCode {
    netlab::cmd::main()
}
