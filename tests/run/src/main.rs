//! The runner behind `cargo lab`, `cargo verify` and `cargo compare`.
//!
//! It depends on almost nothing so that it compiles in seconds and speaks at once: what takes minutes (compiling the
//! product, running the suites) it starts itself, showing how far it is.

mod build;
mod compare;
mod failures;
mod heartbeat;
mod machine;
mod packages;
mod place;
mod privilege;
mod stages;
mod tally;
mod verify;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo lab [--once] [OPTIONS]      build everything, then bring up the lab (see `cargo lab --help`)
       cargo lab --vm [OPTIONS]          the same in a virtual machine with a stock Debian kernel, which has ipip;
                                         --vm-memory MIB and --vm-cpus N say how large it is
       cargo lab exec <node|pod> CMD…    run a command inside the lab of another terminal, in a machine or not;
                                         so do shell, kubectl, status, logs and fault
       cargo lab console                 a shell in the virtual machine of another terminal's lab
       cargo verify [--quick] [--fix]    run every check; --quick leaves out what needs network namespaces,
                                         --fix renews formatting and generated files first
       cargo compare bgp [OPTIONS]       measure caracal-bgpd beside BIRD, FRR, GoBGP and OpenBGPD
                                         (see `cargo compare bgp --help`)
       cargo compare mesh [OPTIONS]      measure a full mesh of caracal-bgpd, and one of BIRD
       cargo compare routes [OPTIONS]    measure routes into the kernel beside `ip -batch` and BIRD
       cargo compare idle [OPTIONS]      measure what an agent with many routes costs while nothing happens
       cargo compare cni [OPTIONS]       measure the CNI plugin beside ptp and bridge
       cargo compare ipam [OPTIONS]      measure the giving of addresses beside host-local
       cargo compare path [OPTIONS]      measure packets between pods beside the same path made by hand; --vm: in a
                                         virtual machine, which has ipip
       cargo compare micro [OPTIONS]     count the instructions of the BGP speaker's smallest parts";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let outcome = match command.as_deref() {
        Some("lab") => lab(&rest),
        Some("verify") => verify::run(&rest),
        Some("compare") => compare::run(&rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Verbs on a lab that runs already.
const ASKING: &[&str] = &["exec", "kubectl", "shell", "status", "logs", "fault"];

/// Builds once and becomes `caracal-lab`: signals and the terminal then belong to it alone.
fn lab(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let place = place::Place::find()?;
    let helps = arguments.iter().any(|a| a == "--help" || a == "-h");
    let asks = arguments.first().is_some_and(|verb| ASKING.contains(&verb.as_str()));
    if let Some(command) = machine::pass_on(&place, arguments) {
        return Err(build::become_command(command));
    }
    // What a running lab was built of is there; the sources may be half way to something else.
    if asks && place.program("caracal-lab").exists() {
        return Err(build::become_lab(&place, arguments));
    }
    let machine = machine::wish(arguments)?;
    if !helps {
        packages::ensure(&packages::for_a_lab(arguments, |file| std::fs::read_to_string(file).ok()))?;
        if machine.is_some() {
            packages::ensure(packages::FOR_THE_MACHINE)?;
        }
    }
    build::programs(&place)?;
    match machine {
        Some(wish) if !helps => Err(build::become_command(machine::lab(&place, &wish)?)),
        Some(wish) => Err(build::become_lab(&place, &wish.rest)),
        None => Err(build::become_lab(&place, arguments)),
    }
}
